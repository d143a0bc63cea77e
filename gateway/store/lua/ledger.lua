#!lua flags=no-writes
-- Read every number of a partition's account in one step, so that they belong together.
--
-- KEYS  1 state   2 log   3 quarantine   then four a subscriber: sub, parked, held, dead
--
-- returns  {state as field, value, …; entries in the log; entries in quarantine;
--           then for each subscriber {sub as field, value, …; parked; held; dead}}

local reply = {redis.call('HGETALL', KEYS[1]), redis.call('XLEN', KEYS[2]), redis.call('XLEN', KEYS[3])}
for s = 4, #KEYS, 4 do
  reply[#reply + 1] = {
    redis.call('HGETALL', KEYS[s]),
    redis.call('HLEN', KEYS[s + 1]), redis.call('HLEN', KEYS[s + 2]), redis.call('HLEN', KEYS[s + 3])
  }
end
return reply
