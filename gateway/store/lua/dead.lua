#!lua flags=allow-oom
-- An operator's word on dead letters of one subscriber: try them again, or give them up.
--
-- KEYS  1 sub   2 parked   3 due   4 dead   5 died
-- ARGV  1 'retry' or 'drop'   2 now in ms   3 JSON of a parked event   then sequence numbers
--
-- returns  how many were dead letters and are none now

local sub, parked, due, dead, died = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local moved, bytes = 0, 0
for i = 4, #ARGV do
  local seq = ARGV[i]
  local size = redis.call('HSTRLEN', dead, seq)
  if redis.call('HDEL', dead, seq) == 1 then
    redis.call('ZREM', died, seq)
    moved, bytes = moved + 1, bytes + size
    if ARGV[1] == 'retry' then
      redis.call('HSET', parked, seq, ARGV[3])
      redis.call('ZADD', due, ARGV[2], seq)
    end
  end
end
if moved > 0 then
  redis.call('HINCRBY', sub, 'dead_bytes', -bytes)
  if ARGV[1] == 'drop' then redis.call('HINCRBY', sub, 'discarded', moved) end
end
return moved
