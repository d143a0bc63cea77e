#!lua flags=allow-oom
-- Remove entries from the log that nobody needs any more.
--
-- KEYS  1 state   2 log   3 subs   then four a subscriber that is waited for: sub, parked, held, dead
-- ARGV  1 how many subscribers there are as the caller knows   2… sequence numbers
-- RIGHTS  KEYS[2] XDEL   KEYS[1] HINCRBY
--
-- An entry stays while a subscriber has it before its cursor, parked, held or as a dead letter. That is looked up here,
-- in the same step as the removal, so that nothing can move in between.
--
-- returns  how many were removed; -1 and none if there is another number of subscribers

local state, log = KEYS[1], KEYS[2]
if redis.call('SCARD', KEYS[3]) ~= tonumber(ARGV[1]) then return -1 end
local cursors = {}
for s = 4, #KEYS, 4 do cursors[s] = tonumber(redis.call('HGET', KEYS[s], 'cursor') or '0') end

local removed, bytes = 0, 0
for i = 2, #ARGV do
  local seq, needed = ARGV[i], false
  for s = 4, #KEYS, 4 do
    if tonumber(seq) > cursors[s] or redis.call('HEXISTS', KEYS[s + 1], seq) == 1
      or redis.call('HEXISTS', KEYS[s + 2], seq) == 1 or redis.call('HEXISTS', KEYS[s + 3], seq) == 1 then
      needed = true
      break
    end
  end
  if not needed then
    local id = seq .. '-0'
    local entry = redis.call('XRANGE', log, id, id)[1]
    if entry then
      redis.call('XDEL', log, id)
      removed = removed + 1
      bytes = bytes + #entry[2][2] + #entry[2][4]
    end
  end
end
if removed > 0 then
  redis.call('HINCRBY', state, 'trimmed', removed)
  redis.call('HINCRBY', state, 'log_bytes', -bytes)
end
return removed
