#!lua flags=no-writes
-- Which of these sequence numbers does the log not hold?
--
-- KEYS  1 log
-- ARGV  sequence numbers
--
-- returns  those that are not there

local absent = {}
for i = 1, #ARGV do
  local id = ARGV[i] .. '-0'
  if #redis.call('XRANGE', KEYS[1], id, id) == 0 then absent[#absent + 1] = tonumber(ARGV[i]) end
end
return absent
