#!lua flags=allow-oom
-- Add, change or remove the settings of one subscriber made through the API, if they are as the caller last saw them.
--
-- KEYS  1 state   2 subscribers   3 changes
-- ARGV  1 name   2 settings as the caller knows them, '' for none   3 settings as they shall be, '' for none
--       4 the entry for changes, '' for none   5 how many entries are kept
-- RIGHTS  KEYS[2] HDEL HSET   KEYS[3] XADD   KEYS[1] HINCRBY
--
-- Each change counts the version up, which is how other processes notice it.
--
-- returns  {1 if it was done, the version}

local known = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if known ~= ARGV[2] then return {0, tonumber(redis.call('HGET', KEYS[1], 'subscribers_version') or '0')} end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
if ARGV[4] ~= '' then redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[5], '*', 'c', ARGV[4]) end
return {1, redis.call('HINCRBY', KEYS[1], 'subscribers_version', 1)}
