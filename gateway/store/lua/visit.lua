#!lua flags=allow-oom
-- Remember a login link or a session, within bounds.
--
-- KEYS  1 logins or sessions
-- ARGV  1 field   2 JSON (`Visit`)   3 milliseconds since the epoch   4 how many are kept
-- RIGHTS  KEYS[1] HDEL HSET HLEN
--
-- Those that have ended go; of too many the one that ends first makes room.
--
-- returns  how many there are now

local key, now, most = KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local all, left = redis.call('HGETALL', key), {}
for at = 1, #all, 2 do
  local ends = cjson.decode(all[at + 1]).ends_ms
  if ends <= now then redis.call('HDEL', key, all[at]) else left[#left + 1] = {ends, all[at]} end
end
table.sort(left, function(one, other) return one[1] < other[1] end)
for at = 1, #left - most + 1 do redis.call('HDEL', key, left[at][2]) end
redis.call('HSET', key, ARGV[1], ARGV[2])
return redis.call('HLEN', key)
