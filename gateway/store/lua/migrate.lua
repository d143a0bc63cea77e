#!lua flags=allow-oom
-- The lock of whoever brings a store to another format, and the note that one step is done.
--
-- KEYS  1 state of the first partition   2 state of the partition that is done with (for 'done')
-- ARGV  1 'take', 'done' or 'leave'   2 who
--       3 for 'take': for how many ms; for 'done': the format before
--       4 for 'take': who is known to be gone, or ''; for 'done': the format after
-- RIGHTS  KEYS[1] HSET HDEL HGET
--
-- The lock is two fields of the state. It is renewed by taking it again; who was killed loses it by time.
--
-- returns  {1 if it was done, who has the lock}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'migrator', 'migrator_until_ms')
local mine = held[1] == ARGV[2]
if ARGV[1] == 'take' then
  if held[1] and not mine and held[1] ~= ARGV[4] and tonumber(held[2]) > now then return {0, held[1]} end
  redis.call('HSET', KEYS[1], 'migrator', ARGV[2], 'migrator_until_ms', string.format('%.0f', now + tonumber(ARGV[3])))
  return {1, ARGV[2]}
end
if not mine then return {0, held[1] or ''} end
if ARGV[1] == 'leave' then
  redis.call('HDEL', KEYS[1], 'migrator', 'migrator_until_ms')
elseif redis.call('HGET', KEYS[2], 'format') == ARGV[3] then
  redis.call('HSET', KEYS[2], 'format', ARGV[4])
end
return {1, ARGV[2]}
