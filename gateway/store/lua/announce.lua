#!lua flags=allow-oom
-- Say that something is so for a time, and learn what else is: who would deliver, which subscribers are wanted.
--
-- KEYS  1 the list
-- ARGV  1 for how many milliseconds; 0: it is so no longer   2… names
-- RIGHTS  KEYS[1] ZREM ZADD ZREMRANGEBYSCORE ZRANGE
--
-- The time is the store's own. What would be true for longer than anybody says was written before its clock jumped back.
--
-- returns  all names of which it is so, these included

local key, time = KEYS[1], redis.call('TIME')
local now, ttl = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), tonumber(ARGV[1])
for i = 2, #ARGV do
  if ttl == 0 then redis.call('ZREM', key, ARGV[i]) else redis.call('ZADD', key, string.format('%.0f', now + ttl), ARGV[i]) end
end
if ttl == 0 then return {} end
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
redis.call('ZREMRANGEBYSCORE', key, string.format('(%.0f', now + 2 * ttl), '+inf')
return redis.call('ZRANGE', key, 0, -1)
