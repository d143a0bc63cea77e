#!lua flags=no-writes
-- Walk a part of the log where it lies: only numbers leave the store, not the events.
--
-- KEYS  1 log
-- ARGV  1 sequence number to begin after   2 last one of interest   3 entries to look at
--       4 '1' if an entry was seen before: then what is missing before the first one here counts too
--
-- returns  {entries seen, last sequence number seen, missing ones up to that, a thousand at most …}

local page = redis.call('XRANGE', KEYS[1], string.format('%.0f-0', ARGV[1] + 1), ARGV[2] .. '-0', 'COUNT', ARGV[3])
local reply, expected = {#page, tonumber(ARGV[1])}, nil
if ARGV[4] == '1' then expected = tonumber(ARGV[1]) + 1 end
for i = 1, #page do
  local seq = tonumber(string.match(page[i][1], '^(%d+)'))
  if expected then
    for missing = expected, seq - 1 do
      if #reply > 1000 then break end
      reply[#reply + 1] = missing
    end
  end
  expected = seq + 1
  reply[2] = seq
end
return reply
