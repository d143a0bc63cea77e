#!lua flags=allow-oom
-- Say that a process would deliver, and learn which others would.
--
-- KEYS  1 deliverers
-- ARGV  1 owner, as in a lease   2 milliseconds for which that is true; 0: it no longer would
--
-- The time is the store's own. What would be true for longer than anybody says was written before its clock jumped back.
--
-- returns  names of all that would, this one included

local key, time = KEYS[1], redis.call('TIME')
local now, ttl = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), tonumber(ARGV[2])
if ttl == 0 then
  redis.call('ZREM', key, ARGV[1])
  return {}
end
redis.call('ZADD', key, string.format('%.0f', now + ttl), ARGV[1])
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
redis.call('ZREMRANGEBYSCORE', key, string.format('(%.0f', now + 2 * ttl), '+inf')
return redis.call('ZRANGE', key, 0, -1)
