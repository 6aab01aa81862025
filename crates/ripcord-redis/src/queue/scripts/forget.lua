-- Removes the workers that hold no job and have not asked for jobs for ARGV[1] milliseconds, and the worker ARGV[2].
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', jobs, group)) do
  local worker = {}
  for i = 1, #info, 2 do worker[info[i]] = info[i + 1] end
  if worker.pending == 0 and (worker.idle > tonumber(ARGV[1]) or worker.name == ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', jobs, group, worker.name)
  end
end
return 0
