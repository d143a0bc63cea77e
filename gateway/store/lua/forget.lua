#!lua flags=allow-oom
-- Remove everything one partition knows of a subscriber: its cursor, its counts, and whatever waited for it.
--
-- KEYS  1 subs   2 sub   3 parked   4 due   5 held   6 dead   7 died   8 history   9 firsts
--       10 firsts before   then in the first partition, where that is: 11 subscribers
-- ARGV  1 name   2 prefix of the key lists   3 what stands in subscribers while it is to be forgotten
-- RIGHTS  KEYS[1] SREM   KEYS[2] UNLINK
--
-- Its line of the account goes whole, so the account still adds up. The key lists have no list of their own: each is
-- named by a parked event that holds it, or by a held one behind it.
--
-- returns  1; 0 and nothing is removed if somebody took it back, as far as can be seen here

if KEYS[11] and redis.call('HGET', KEYS[11], ARGV[1]) ~= ARGV[3] then return 0 end
local hashes = {}
for _, waits in ipairs(redis.call('HVALS', KEYS[5])) do hashes[string.match(waits, '%S+')] = true end
for _, info in ipairs(redis.call('HVALS', KEYS[3])) do
  local hash = string.match(info, '"key":"(%x+)"')
  if hash then hashes[hash] = true end
end
for hash in pairs(hashes) do redis.call('UNLINK', ARGV[2] .. hash) end
redis.call('UNLINK', unpack(KEYS, 2, 10))
redis.call('SREM', KEYS[1], ARGV[1])
return 1
