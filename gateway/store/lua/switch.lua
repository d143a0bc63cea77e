#!lua flags=allow-oom
-- Write one field of a subscriber's hash where it has a cursor: one that was forgotten does not come back by it.
--
-- KEYS  1 sub
-- ARGV  1 field   2 value   3 what the field must hold for it, '' for nothing (left out: whatever)
-- RIGHTS  KEYS[1] HSET
--
-- returns  1 if it was written, 0 if the field holds something else, -1 if there is no cursor

local found = redis.call('HMGET', KEYS[1], 'cursor', ARGV[1])
if not found[1] then return -1 end
if ARGV[3] and (found[2] or '') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
