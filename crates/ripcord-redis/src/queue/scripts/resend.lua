-- ARGV: the IDs of dead letters, or nothing for the oldest 1,000. Returns the number of jobs that wait again.
local ids = ARGV
if #ids == 0 then ids = redis.call('ZRANGE', dead, 0, 999) end
local n = 0
for _, id in ipairs(ids) do
  if redis.call('ZREM', dead, id) == 1 and redis.call('EXISTS', job_key(id)) == 1 then
    redis.call('HDEL', job_key(id), 'attempts', 'delay', 'deliveries', 'deadline', 'reason', 'error', 'worker', 'cancel')
    enqueue(id)
    n = n + 1
  end
end
count('resent', n)
return n
