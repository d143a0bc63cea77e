#!lua flags=allow-oom
-- Give a subscriber its cursor, unless it has one.
--
-- KEYS  1 state   2 sub   3 subs
-- ARGV  1 name   2 start: 'now', or the sequence number after which it wants events   3 now in ms
-- RIGHTS  KEYS[2] HSET   KEYS[3] SADD
--
-- returns  {cursor, 1 if it is new}

local cursor = redis.call('HGET', KEYS[2], 'cursor')
if cursor then return {cursor, 0} end
local start = ARGV[2]
if start == 'now' then start = redis.call('HGET', KEYS[1], 'seq') or '0' end
redis.call('HSET', KEYS[2], 'start', start, 'cursor', start, 'since_ms', ARGV[3])
redis.call('SADD', KEYS[3], ARGV[1])
return {start, 1}
