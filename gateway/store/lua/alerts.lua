#!lua flags=allow-oom
-- Write what changed among the alerts, if the caller still holds the lease of this partition.
--
-- KEYS  1 state   2 alerts
-- ARGV  1 epoch of the lease   then two each: field, JSON ('' removes the field)
-- RIGHTS  KEYS[2] HDEL HSET
--
-- Only who delivers from the first partition tells of alerts, so a process that was replaced changes nothing.
--
-- returns  the number of fields
-- errors   LEASE another process owns the partition

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return redis.error_reply('LEASE another process owns this partition')
end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
return (#ARGV - 1) / 2
