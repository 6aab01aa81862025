-- ARGV: the worker, the maximum number of deliveries; then for each entry that the worker has read: its ID and the ID of the job.
-- Returns for each job to run: its ID, the version of this run, the milliseconds to the deadline or -1, the failed attempts, the
-- last delay in milliseconds, the deliveries, the job, and the trace.
local worker, max_deliveries = ARGV[1], tonumber(ARGV[2])
local started, taken_over, time = {}, 0, now()
for i = 3, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  local job = job_key(id)
  local h = read_job(id, 'entry', 'state', 'deadline', 'deliveries', 'cancel', 'worker', 'version', 'attempts',
    'delay', 'job', 'trace')
  if h[1] ~= entry then
    -- The job is over, or waits with another entry.
    remove(entry)
  elseif holder(entry) == worker then
    local was_running = h[2] == 'running'
    local is_other = was_running and h[6] ~= worker
    local deliveries = tonumber(h[4] or 0)
    if is_other then taken_over = taken_over + 1 end
    if h[5] then
      remove(entry)
      redis.call('DEL', job)
      count('canceled', 1)
    elseif h[3] and tonumber(h[3]) <= time then
      remove(entry)
      bury(id, 'deadline', 'the deadline has passed before the job started')
    elseif deliveries >= max_deliveries and (is_other or not was_running) then
      remove(entry)
      bury(id, 'deliveries', deliveries .. ' workers have lost the job')
    else
      -- A worker that reads its own job again has not failed, so this start is not a new delivery.
      if is_other or not was_running then deliveries = deliveries + 1 end
      local version = tonumber(h[7] or 0) + 1
      redis.call('HSET', job, 'state', 'running', 'worker', worker, 'version', version, 'deliveries', deliveries)
      local left = h[3] and (h[3] - time) or -1
      started[#started + 1] = { id, version, left, tonumber(h[8] or 0), tonumber(h[9] or 0), deliveries, h[10], h[11] or '' }
    end
  end
end
count('taken_over', taken_over)
return started
