#!lua flags=allow-oom
-- Write the record of one replay, if it is as the caller last saw it.
--
-- KEYS  1 state   2 replays   3 open   4 totals   5 changes
-- ARGV  1 id   2 version as the caller knows it, 0 for none   3 JSON
--       4 '1' if it is to run from now on, '0' if not   5 epoch of the lease, or '' from who needs none
--       6 the entry for changes, '' for none   7 how many entries are kept
-- RIGHTS  KEYS[4] HINCRBY   KEYS[2] HSET   KEYS[3] SADD SREM   KEYS[5] XADD
--
-- What its counts have grown by since the last time is added to the totals in the same step, so that nothing is counted
-- twice, and the totals stay when the record goes.
--
-- Who runs a replay gives the epoch of its lease of this partition, so that a process that was replaced changes nothing.
--
-- returns  the new version; 0 if somebody else changed the record since
-- errors   LEASE another process owns the partition

local state, replays, open, totals, id, known = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2]
if ARGV[5] ~= '' and redis.call('HGET', state, 'epoch') ~= ARGV[5] then
  return redis.error_reply('LEASE another process owns this partition')
end
local record = redis.call('HGET', replays, id)
local version = record and string.match(record, '^%d+') or '0'
if version ~= known then return 0 end
local before = record and cjson.decode(string.match(record, '^%d+ (.*)$')) or {}
local after = cjson.decode(ARGV[3])
local new = tonumber(version) + 1
for _, name in ipairs({'delivered', 'requeued', 'failed', 'attempts'}) do
  local more = after[name] - (before[name] or 0)
  if more ~= 0 then redis.call('HINCRBY', totals, name, more) end
end
redis.call('HSET', replays, id, new .. ' ' .. ARGV[3])
redis.call(ARGV[4] == '1' and 'SADD' or 'SREM', open, id)
if ARGV[6] ~= '' then redis.call('XADD', KEYS[5], 'MAXLEN', ARGV[7], '*', 'c', ARGV[6]) end
return new
