-- ARGV: for each run: the ID of the job, the version of the run, how it ended, a number and a text.
-- `done`: the job is over. `retry`: the number is the delay in milliseconds, and the text is the error. `dead`: the text is the
-- reason, a colon and the error. `canceled`: the job is over. `release`: the job waits again. `lost`: the job waits again, unless
-- another worker has taken it over.
local counts = { done = 0, retried = 0, canceled = 0, lost_leases = 0 }
for i = 1, #ARGV, 5 do
  local id, version, kind, text = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 4]
  local job = job_key(id)
  local h = read_job(id, 'version', 'state', 'entry', 'cancel')
  if kind == 'lost' then counts.lost_leases = counts.lost_leases + 1 end
  -- Another worker may have taken the job over.
  if h[1] == version and h[2] == 'running' then
    -- A canceled job does not run again.
    if h[4] and kind ~= 'done' then kind = 'canceled' end
    remove(h[3])
    if kind == 'done' then
      redis.call('DEL', job)
      counts.done = counts.done + 1
    elseif kind == 'canceled' then
      redis.call('DEL', job)
      counts.canceled = counts.canceled + 1
    elseif kind == 'retry' then
      redis.call('HINCRBY', job, 'attempts', 1)
      redis.call('HDEL', job, 'deliveries', 'worker')
      redis.call('HSET', job, 'state', 'delayed', 'delay', ARGV[i + 3], 'error', text)
      redis.call('ZADD', delayed, now() + ARGV[i + 3], id)
      counts.retried = counts.retried + 1
    elseif kind == 'dead' then
      redis.call('HINCRBY', job, 'attempts', 1)
      local reason, error = string.match(text, '^(%a+):(.*)$')
      bury(id, reason, error)
    else
      -- The worker is alive and has returned the job, so this delivery does not count.
      if kind == 'release' then redis.call('HDEL', job, 'deliveries') end
      redis.call('HDEL', job, 'worker')
      enqueue(id)
    end
  end
end
for name, n in pairs(counts) do count(name, n) end
return #ARGV / 5
