-- Returns entries that the worker has read and not started.
-- ARGV: the worker; then for each entry: its ID and the ID of the job.
for i = 2, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  local held = redis.call('XPENDING', jobs, group, entry, entry, 1)[1]
  if held and held[2] == ARGV[1] then
    remove(entry)
    if redis.call('HGET', job_key(id), 'entry') == entry then enqueue(id) end
  end
end
return #ARGV
