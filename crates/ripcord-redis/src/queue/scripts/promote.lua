-- Moves the delayed jobs that are due to the waiting jobs, at most ARGV[1]. Returns the milliseconds until the next job is due, or -1.
local time = now()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', time, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZREM', delayed, id)
  if redis.call('EXISTS', job_key(id)) == 1 then enqueue(id) end
end
local next = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if #next == 0 then return -1 end
return math.max(0, next[2] - time)
