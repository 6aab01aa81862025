-- ARGV: the milliseconds for which a key is kept; then for each job: its ID, the job, the trace or '', the milliseconds to the
-- deadline or '', the milliseconds before it may run, and the key or ''. Returns the ID of each job.
local ids, submitted, time = {}, 0, now()
for i = 2, #ARGV, 6 do
  local id, key, first = ARGV[i], ARGV[i + 5], false
  if key ~= '' then
    first = redis.call('SET', base .. ':key:' .. key, id, 'NX', 'GET', 'PX', ARGV[1])
  end
  -- The job exists if the client sends this command again because the connection was lost before the answer.
  if not first and redis.call('EXISTS', job_key(id)) == 0 then
    local job = job_key(id)
    redis.call('HSET', job, 'job', ARGV[i + 1], 'submitted', time)
    if ARGV[i + 2] ~= '' then redis.call('HSET', job, 'trace', ARGV[i + 2]) end
    if ARGV[i + 3] ~= '' then redis.call('HSET', job, 'deadline', time + ARGV[i + 3]) end
    local delay = tonumber(ARGV[i + 4])
    if delay > 0 then
      redis.call('HSET', job, 'state', 'delayed')
      redis.call('ZADD', delayed, time + delay, id)
    else
      enqueue(id)
    end
    submitted = submitted + 1
  end
  ids[#ids + 1] = first or id
end
count('submitted', submitted)
return ids
