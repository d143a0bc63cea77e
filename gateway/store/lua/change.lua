#!lua flags=allow-oom
-- Tell of a change, and set one field of a hash of the same partition with it.
--
-- KEYS  1 changes   2 the hash (left out: none)
-- ARGV  1 the entry, '' for none   2 how many entries are kept   3 field   4 value
-- RIGHTS  KEYS[1] XADD HSET
--
-- returns  1

if ARGV[1] ~= '' then redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'c', ARGV[1]) end
if KEYS[2] then redis.call('HSET', KEYS[2], ARGV[3], ARGV[4]) end
return 1
