#!lua flags=allow-oom
-- An operator's word on dead letters of one subscriber: try them again, or give them up.
--
-- KEYS  1 sub   2 parked   3 due   4 dead   5 died   6 held
-- ARGV  1 'retry' or 'drop'   2 now in ms   3 prefix of the key lists
--       then three each, in log order: sequence number, key hash or '', JSON of a parked event
-- RIGHTS  KEYS[1] HINCRBY   KEYS[2] HSET HGET HDEL   KEYS[3] ZADD ZREM
-- RIGHTS  ARGV[3] LINDEX LLEN LRANGE LTRIM LPUSH RPUSH
--
-- A letter without a key is parked, due at once. Those of one key take their places in the key's list, which is in log
-- order: they are merged with what lies at the nearer end, so the work does not grow with what waits elsewhere in it.
-- Then the first of the list is parked and due at once. The one that was parked before becomes held, with what is known
-- of it; if an attempt of it is on the wire, settle.lua takes its end from there.
--
-- returns  how many were dead letters and are none now

local sub, parked, due, dead, died, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local retry, now, lists = ARGV[1] == 'retry', ARGV[2], ARGV[3]

local moved, bytes = {}, 0
local info, coming, hashes = {}, {}, {}
for i = 4, #ARGV, 3 do
  local seq, hash = ARGV[i], ARGV[i + 1]
  local size = redis.call('HSTRLEN', dead, seq)
  if size > 0 then
    moved[#moved + 1], bytes = seq, bytes + size
    info[seq] = ARGV[i + 2]
    if not coming[hash] then
      coming[hash] = {}
      hashes[#hashes + 1] = hash
    end
    table.insert(coming[hash], seq)
  end
end
if #moved == 0 then return 0 end

-- How many of a list come before a sequence number.
local function before(list, length, seq)
  local low, high = 0, length
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', list, middle)) < tonumber(seq) then low = middle + 1 else high = middle end
  end
  return low
end

local function merged(some, others)
  local result, at = {}, 1
  for _, seq in ipairs(some) do
    while others[at] and tonumber(others[at]) < tonumber(seq) do
      result[#result + 1], at = others[at], at + 1
    end
    result[#result + 1] = seq
  end
  for rest = at, #others do result[#result + 1] = others[rest] end
  return result
end

local function park(seq)
  redis.call('HSET', parked, seq, info[seq])
  redis.call('ZADD', due, now, seq)
end

local function enqueue(hash, seqs)
  local list = lists .. hash
  local length = redis.call('LLEN', list)
  local was_first = redis.call('LINDEX', list, 0)
  local front = before(list, length, seqs[#seqs])
  local back = length - before(list, length, seqs[1])
  if front <= back then
    local new = front == 0 and seqs or merged(redis.call('LRANGE', list, 0, front - 1), seqs)
    if front > 0 then redis.call('LTRIM', list, front, -1) end
    for i = #new, 1, -1 do redis.call('LPUSH', list, new[i]) end
  else
    local new = back == 0 and seqs or merged(redis.call('LRANGE', list, -back, -1), seqs)
    if back > 0 then redis.call('LTRIM', list, 0, -back - 1) end
    for i = 1, #new do redis.call('RPUSH', list, new[i]) end
  end
  local first = redis.call('LINDEX', list, 0)
  for _, seq in ipairs(seqs) do
    if seq == first then park(seq) else redis.call('HSET', held, seq, hash .. ' ' .. info[seq]) end
  end
  if was_first and was_first ~= first then
    local known = redis.call('HGET', parked, was_first)
    redis.call('HSET', held, was_first, known and hash .. ' ' .. known or hash)
    redis.call('HDEL', parked, was_first)
    redis.call('ZREM', due, was_first)
  end
end

redis.call('HDEL', dead, unpack(moved))
redis.call('ZREM', died, unpack(moved))
redis.call('HINCRBY', sub, 'dead_bytes', -bytes)
if retry then
  for _, hash in ipairs(hashes) do
    if hash == '' then
      for _, seq in ipairs(coming[hash]) do park(seq) end
    else
      enqueue(hash, coming[hash])
    end
  end
  redis.call('HINCRBY', sub, 'retries', 1)
else
  redis.call('HINCRBY', sub, 'discarded', #moved)
end
return #moved
