-- Returns entries that the worker has read and not started.
-- ARGV: the worker; then for each entry: its ID and the ID of the job.
for i = 2, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  if holder(entry) == ARGV[1] then
    remove(entry)
    if read_job(id, 'entry')[1] == entry then enqueue(id) end
  end
end
return #ARGV
