#!lua flags=allow-oom
-- Record what became of deliveries of one subscriber in one partition: counts, cursor and parked ones in one step.
--
-- KEYS  1 state   2 sub   3 parked   4 due   5 held   6 dead   7 died   8 history   9 firsts   10 firsts before
-- ARGV  1 epoch of the lease   2 writer and its settle number   3 cursor as the caller knows it   4 cursor as it shall be
--       5 delivered   6 filtered   7 discarded (all three among those the cursor passes)
--       8 now in ms   9 cap of dead in bytes   10 prefix of the key lists
--       11 record of the first attempts among the delivered, or ''   12 cap of firsts in bytes   13 of these a record
--       then six each: operation, sequence number, key hash or '', due or death in ms, JSON, last answer
-- RIGHTS  KEYS[2] HSET HGET HDEL HEXISTS HINCRBY   KEYS[4] ZADD ZREM   KEYS[8] XADD UNLINK RENAME
-- RIGHTS  ARGV[10] LREM LINDEX RPUSH
--
-- operations on an event that the cursor passes:
--   park   a failed or still running attempt: keep for another, and hold its key
--   hold   behind a parked one of the same key
--   dead   no further attempt
-- operations on a parked event (each counts only if it still waits, so none counts twice):
--   done   delivered          again  another attempt later          bury   no further attempt       drop  discarded
-- done, bury and drop let the next held event of the key follow: it becomes parked, due at once.
--
-- Of a key only the first of its list is parked. dead.lua puts retried dead letters in front of events that are in hand:
-- one of these that ends is held by then, and one that fails becomes held with what is known of it (`<hash> <JSON>`).
--
-- returns  the freed key hashes, joined by commas
-- errors   LEASE another process owns the partition;  CURSOR the cursor is elsewhere;  GONE no such subscriber

local state, sub, parked, due, held, dead, died = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
if redis.call('HGET', state, 'epoch') ~= ARGV[1] then
  return redis.error_reply('LEASE another process owns this partition')
end
local known = redis.call('HMGET', sub, 'cursor', 'settle', 'settle_reply', 'dead_bytes', 'firsts_bytes')
if not known[1] then return redis.error_reply('GONE the subscriber has no cursor here') end
local number = ARGV[1] .. '.' .. ARGV[2]
if known[2] == number then return known[3] end
if known[1] ~= ARGV[3] then return redis.error_reply('CURSOR it is at ' .. known[1] .. ', not at ' .. ARGV[3]) end

local now, cap, lists = ARGV[8], tonumber(ARGV[9]), ARGV[10]
local delivered, discarded = tonumber(ARGV[5]), tonumber(ARGV[7])
local dead_bytes = tonumber(known[4] or '0')
local freed = {}
local FRESH = '{"attempt":0,"key":"%s"}'
local LAST = '"last_chance":true'

local function park(seq, at, info)
  redis.call('HSET', parked, seq, info)
  redis.call('ZADD', due, at, seq)
end

-- Held, but tried before: dead.lua took its place at the head of its key while it was in hand.
local function is_pushed_back(seq, hash)
  local waits = hash ~= '' and redis.call('HGET', held, seq)
  return waits and string.sub(waits, 1, #hash + 1) == hash .. ' '
end

local function unpark(seq, hash)
  if redis.call('HDEL', parked, seq) == 1 then
    redis.call('ZREM', due, seq)
    return true
  end
  return is_pushed_back(seq, hash) and redis.call('HDEL', held, seq) == 1
end

local function bury(seq, at, info, answer)
  local room = cap - dead_bytes
  if #info + 1 > room then
    discarded = discarded + 1
    return
  end
  if #info + 1 + #answer > room then answer = '' end
  redis.call('HSET', dead, seq, info .. '\n' .. answer)
  redis.call('ZADD', died, at, seq)
  dead_bytes = dead_bytes + #info + 1 + #answer
end

local function follow(seq, hash, last_chance)
  if hash == '' then return end
  local list = lists .. hash
  redis.call('LREM', list, 1, seq)
  local following = redis.call('LINDEX', list, 0)
  if not following then
    freed[#freed + 1] = hash
    return
  end
  local waits = redis.call('HGET', held, following)
  if not waits then return end  -- it is parked: what ended was not the first
  redis.call('HDEL', held, following)
  local info = string.match(waits, ' (.*)') or string.format(FRESH, hash)
  if last_chance and not string.find(info, LAST, 1, true) then info = '{' .. LAST .. ',' .. string.sub(info, 2) end
  park(following, now, info)
end

-- At the end of its key's list: the first one is parked.
local function queue(seq, hash, at, info, waits)
  if redis.call('RPUSH', lists .. hash, seq) == 1 then
    park(seq, at, info)
  else
    redis.call('HSET', held, seq, waits)
  end
end

local HISTORY = 10000

for i = 14, #ARGV, 6 do
  local op, seq, hash, at, info, answer = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  if op == 'park' then
    if hash == '' then park(seq, at, info) else queue(seq, hash, at, info, hash .. ' ' .. info) end
  elseif op == 'hold' then
    queue(seq, hash, now, string.format(FRESH, hash), hash)
  elseif op == 'dead' then
    bury(seq, at, info, answer)
  elseif op == 'again' then
    if redis.call('HEXISTS', parked, seq) == 1 then
      park(seq, at, info)
    elseif is_pushed_back(seq, hash) then
      redis.call('HSET', held, seq, hash .. ' ' .. info)
    end
  elseif op == 'done' then
    if unpark(seq, hash) then
      delivered = delivered + 1
      if info ~= '' then redis.call('XADD', KEYS[8], 'MAXLEN', '~', HISTORY, '*', 's', seq, 'h', info) end
      follow(seq, hash, false)
    end
  elseif op == 'bury' then
    if unpark(seq, hash) then
      bury(seq, at, info, answer)
      follow(seq, hash, true)
    end
  elseif op == 'drop' then
    if unpark(seq, hash) then
      discarded = discarded + 1
      follow(seq, hash, false)
    end
  else
    return redis.error_reply('ERR no such operation: ' .. op)
  end
end

-- A stream that is full takes the place of the one before it: the oldest go many at a time, and no record is counted off.
local firsts_bytes = tonumber(known[5] or '0')
if ARGV[11] ~= '' then
  local added = redis.pcall('XADD', KEYS[9], ARGV[4] .. '-0', 'f', ARGV[11])
  if type(added) == 'table' and added.err then  -- somebody set the cursor back, and a stream goes forwards only
    redis.call('UNLINK', KEYS[9], KEYS[10])
    redis.call('XADD', KEYS[9], ARGV[4] .. '-0', 'f', ARGV[11])
    firsts_bytes = 0
  end
  firsts_bytes = firsts_bytes + #ARGV[11] + tonumber(ARGV[13])
  if firsts_bytes >= tonumber(ARGV[12]) then
    redis.call('RENAME', KEYS[9], KEYS[10])
    firsts_bytes = 0
  end
end

local reply = table.concat(freed, ',')
redis.call('HSET', sub, 'cursor', ARGV[4], 'settle', number, 'settle_reply', reply, 'dead_bytes', dead_bytes,
  'firsts_bytes', firsts_bytes)
if delivered > 0 then redis.call('HINCRBY', sub, 'delivered', delivered) end
if tonumber(ARGV[6]) > 0 then redis.call('HINCRBY', sub, 'filtered', ARGV[6]) end
if discarded > 0 then
  -- Nobody asked for it (that is dead.lua's to do): beyond max_lag, or a dead letter without room. Told by status.
  redis.call('HINCRBY', sub, 'discarded', discarded)
  redis.call('HINCRBY', sub, 'given_up', discarded)
  redis.call('HSET', sub, 'given_up_ms', now)
end
return reply
