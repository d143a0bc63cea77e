#!lua
-- Append what one batch of requests brought to a partition: once, whole, counted.
--
-- KEYS  1 state   2 log   3 committer   4 quarantine   5 rejected   6… seen:<event id>, one an event, in order
-- ARGV  1 batch number   2 the number of the batch that must be in before, and be the last; empty: whichever it was
--       3 seconds to remember the committer   4 cap of rejected in bytes
--       5 number of counters, then that many pairs: field of state, amount
--       then number of sources, then their names
--       then four an event: index of its source (from 1), seconds to remember its id, event JSON, raw JSON
--       then number of quarantined, then two each: meta JSON, body
--       then number of rejected, then two each: meta JSON, body
--       then the number of an earlier batch, and how many counters came with it, then pairs as above
-- RIGHTS  KEYS[1] HGET HGETALL HINCRBY HSET   KEYS[2] XADD XRANGE XDEL   KEYS[3] SET DEL
--
-- 1 the batch was seen before: return the reply it had; a later one was: it comes too late, count nothing;
--   the one that must be before it is not in: nothing either
-- 2 for each event: mark its id as seen; if it was not, give it the next sequence number and append it; where marks of
--   its source live for another time than before, write down since which number
-- 3 append quarantined and rejected, drop the oldest rejected beyond the cap
-- 4 add the counts, those of the earlier batch only if it is not in, and remember the reply
--
-- returns  the sequence numbers in order, joined by commas; 0 for a duplicate
-- errors   LOG the log refused an entry, or had some without their number: then the next try is taken;
--          LATE a copy of an old batch, kept back on the way: nobody waits for its reply;
--          GAP the batch before it is not in;  EVENT the server never takes an event, for what it is
--
-- No allow-oom: this is the one script that a full store may refuse, and then nothing has been acknowledged.
-- A mark without its entry would turn the provider's retry into a silent loss, and an entry without its number would
-- refuse every later one. Lua does not roll back, so an append that fails (somebody else wrote to our keys) takes its
-- mark back, and whatever fails first writes down what is in.

local state, log, committer = KEYS[1], KEYS[2], KEYS[3]
local batch = ARGV[1]
local last = redis.call('GET', committer)
local newest = ''
if last then
  local answer
  newest, answer = string.match(last, '^(%d+):(.*)$')
  if newest == batch then return answer end
  if tonumber(newest) > tonumber(batch) then return redis.error_reply('LATE batch ' .. newest .. ' was here before') end
end

if ARGV[2] ~= '' and ARGV[2] ~= newest then return redis.error_reply('GAP batch ' .. ARGV[2] .. ' is not in') end

local at = 5
local counts = {}
local n_counters = tonumber(ARGV[at])
for i = 1, n_counters do
  counts[ARGV[at + 1]] = (counts[ARGV[at + 1]] or 0) + tonumber(ARGV[at + 2])
  at = at + 2
end
at = at + 1
local sources = {}
local n_sources = tonumber(ARGV[at])
for i = 1, n_sources do sources[i] = ARGV[at + i] end
at = at + n_sources + 1

-- A key of another kind must end the script here, and not when half of the batch is in.
local shelves = at + 4 * (#KEYS - 5)
if ARGV[shelves] ~= '0' then redis.call('XLEN', KEYS[4]) end
if ARGV[shelves + 1 + 2 * tonumber(ARGV[shelves])] ~= '0' then redis.call('XLEN', KEYS[5]) end

local seq = tonumber(redis.call('HGET', state, 'seq') or '0')
local logged, duplicate, latest, bytes = {}, {}, {}, 0
local lives, since = {}, {}
for i = 1, n_sources do logged[i], duplicate[i] = 0, 0 end

local function finish()
  for i = 1, n_sources do
    if logged[i] > 0 then redis.call('HINCRBY', state, 'e:' .. sources[i] .. ':logged', logged[i]) end
    -- When its latest event came; before that field is nothing of the provider's. What waited in a spool comes later.
    local came = latest[i] and string.match(latest[i], '"received_at":"([^"]+)"')
    if came and came > (redis.call('HGET', state, 'l:' .. sources[i]) or '') then
      redis.call('HSET', state, 'l:' .. sources[i], came)
    end
    if since[i] then redis.call('HSET', state, 't:' .. sources[i], string.format('%s %.0f', lives[i], since[i])) end
    if duplicate[i] > 0 then redis.call('HINCRBY', state, 'e:' .. sources[i] .. ':duplicate', duplicate[i]) end
    local produced = logged[i] + duplicate[i]
    if produced > 0 then redis.call('HINCRBY', state, 'e:' .. sources[i] .. ':produced', produced) end
  end
  redis.call('HSET', state, 'seq', string.format('%.0f', seq))
  if bytes > 0 then redis.call('HINCRBY', state, 'log_bytes', bytes) end
end

-- Entries above the last number: what appended them was broken off before it wrote the number down, and every later
-- entry is refused. Their marks are in, so they get what is missing: counts and number. `logged` comes first and source
-- by source, so some may have it. What does not look like ours, or does not add up, is left as it is.
local function take_up()
  local ahead = redis.call('XRANGE', log, string.format('(%.0f-0', seq), '+', 'COUNT', 10000)
  local order, n, size = {}, {}, 0
  for i, entry in ipairs(ahead) do
    local source = #entry[2] == 4 and string.match(entry[2][2], '"source":"([^"]+)"')
    if not source or entry[1] ~= string.format('%.0f-0', seq + i) then return 0 end
    if not n[source] then order[#order + 1], n[source] = source, 0 end
    n[source] = n[source] + 1
    size = size + #entry[2][2] + #entry[2][4]
  end
  local fields, have = redis.call('HGETALL', state), -seq
  for i = 1, #fields, 2 do
    if string.match(fields[i], '^e:.*:logged$') then have = have + (tonumber(fields[i + 1]) or 0) end
  end
  local lacks = {}
  for _, source in ipairs(order) do
    if #lacks == 0 and have >= n[source] then have = have - n[source] else lacks[#lacks + 1] = source end
  end
  if have ~= 0 then return 0 end
  for _, source in ipairs(lacks) do redis.call('HINCRBY', state, 'e:' .. source .. ':logged', n[source]) end
  for _, source in ipairs(order) do redis.call('HINCRBY', state, 'e:' .. source .. ':produced', n[source]) end
  if #ahead > 0 then
    redis.call('HSET', state, 'seq', string.format('%.0f', seq + #ahead))
    redis.call('HINCRBY', state, 'log_bytes', size)
  end
  return #ahead
end

local reply = {}
for i = 6, #KEYS do
  local source = tonumber(ARGV[at])
  local marked = redis.pcall('SET', KEYS[i], string.format('%.0f', seq + 1), 'NX', 'EX', ARGV[at + 1])
  if type(marked) == 'table' and marked.err then
    if seq > 0 then finish() end
    local word = string.find(marked.err, 'invalid expire', 1, true) and 'EVENT' or 'ERR'
    return redis.error_reply(word .. ' the id of an event was refused: ' .. marked.err)
  end
  if marked then
    local added = redis.pcall('XADD', log, string.format('%.0f-0', seq + 1), 'e', ARGV[at + 2], 'r', ARGV[at + 3])
    if type(added) == 'table' and added.err then
      redis.call('DEL', KEYS[i])
      if seq > 0 then finish() end
      local refused = string.format('LOG the log refused entry %.0f: ', seq + 1)
      local taken = string.find(added.err, 'equal or smaller', 1, true) and take_up() or 0
      if taken > 0 then added.err = taken .. ' were there without their number, and are counted now; try again' end
      return redis.error_reply(refused .. added.err)
    end
    seq = seq + 1
    lives[source] = lives[source] or string.match(redis.call('HGET', state, 't:' .. sources[source]) or '', '^%d+')
    if lives[source] ~= ARGV[at + 1] then lives[source], since[source] = ARGV[at + 1], seq end
    bytes = bytes + #ARGV[at + 2] + #ARGV[at + 3]
    logged[source] = logged[source] + 1
    latest[source] = ARGV[at + 2]
    reply[#reply + 1] = string.format('%.0f', seq)
  else
    duplicate[source] = duplicate[source] + 1
    reply[#reply + 1] = '0'
  end
  at = at + 4
end
finish()

local n = tonumber(ARGV[at])
for i = 1, n do
  redis.call('XADD', KEYS[4], '*', 'm', ARGV[at + 1], 'b', ARGV[at + 2])
  at = at + 2
end
at = at + 1
n = tonumber(ARGV[at])
local kept = 0
for i = 1, n do
  redis.call('XADD', KEYS[5], '*', 'm', ARGV[at + 1], 'b', ARGV[at + 2])
  kept = kept + #ARGV[at + 1] + #ARGV[at + 2]
  at = at + 2
end
if kept > 0 then
  local total = redis.call('HINCRBY', state, 'rejected_bytes', kept)
  while total > tonumber(ARGV[4]) do
    local oldest = redis.call('XRANGE', KEYS[5], '-', '+', 'COUNT', 1)[1]
    if not oldest then break end
    redis.call('XDEL', KEYS[5], oldest[1])
    total = redis.call('HINCRBY', state, 'rejected_bytes', -(#oldest[2][2] + #oldest[2][4]))
  end
end

local is_missing = (tonumber(newest) or 0) < tonumber(ARGV[at + 1])
at = at + 2
n = tonumber(ARGV[at])
for i = 1, n do
  if is_missing then counts[ARGV[at + 1]] = (counts[ARGV[at + 1]] or 0) + tonumber(ARGV[at + 2]) end
  at = at + 2
end

for field, amount in pairs(counts) do redis.call('HINCRBY', state, field, amount) end
local answer = table.concat(reply, ',')
redis.call('SET', committer, batch .. ':' .. answer, 'EX', ARGV[3])
return answer
