#!lua flags=allow-oom
-- Take, keep or give back the right to read one partition and to settle in it.
--
-- KEYS  1 state
-- ARGV  1 owner   2 milliseconds it lasts; 0 gives it back   3 owner known to be gone, or ''
-- RIGHTS  KEYS[1] HDEL HSET
--
-- Each new owner gets the next epoch; a settle carries its epoch, so an owner that was replaced can change nothing.
-- The time is the store's own: clocks of two gateways need not agree.
--
-- returns  {1 if it is ours now, epoch, owner, milliseconds until it ends}

local state, me = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known = redis.call('HMGET', state, 'owner', 'epoch', 'lease_until_ms')
local owner, epoch, till = known[1], tonumber(known[2] or '0'), tonumber(known[3] or '0')
local ttl = tonumber(ARGV[2])

if ttl == 0 then
  if owner == me then redis.call('HDEL', state, 'owner', 'lease_until_ms') end
  return {0, epoch, '', 0}
end
-- A lease that ends later than any lease can was written before the store's clock jumped back: it is over.
if owner and owner ~= me and owner ~= ARGV[3] and till > now and till <= now + 2 * ttl then
  return {0, epoch, owner, till - now}
end
if owner ~= me then epoch = epoch + 1 end
redis.call('HSET', state, 'owner', me, 'epoch', epoch, 'lease_until_ms', string.format('%.0f', now + ttl))
return {1, epoch, me, ttl}
