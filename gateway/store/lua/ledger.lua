#!lua flags=no-writes
-- Read every number of a partition's account in one step, so that they belong together.
--
-- KEYS  1 state   2 log   3 quarantine   then the committers   then four a subscriber: sub, parked, held, dead
-- ARGV  1 number of committers
--
-- returns  {state as field, value, …; entries in the log; entries in quarantine;
--           the last batch number of each committer, false where it is not known;
--           then for each subscriber {sub as field, value, …; parked; held; dead}}

local numbers = {}
local n = tonumber(ARGV[1])
for i = 1, n do
  local last = redis.call('GET', KEYS[3 + i])
  numbers[i] = last and string.match(last, '^%d+')
end
local reply = {redis.call('HGETALL', KEYS[1]), redis.call('XLEN', KEYS[2]), redis.call('XLEN', KEYS[3]), numbers}
for s = 4 + n, #KEYS, 4 do
  reply[#reply + 1] = {
    redis.call('HGETALL', KEYS[s]),
    redis.call('HLEN', KEYS[s + 1]), redis.call('HLEN', KEYS[s + 2]), redis.call('HLEN', KEYS[s + 3])
  }
end
return reply
