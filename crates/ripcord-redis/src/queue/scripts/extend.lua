-- ARGV: the worker; then for each job that it runs: its ID and the version of the run.
-- Returns for each job: 1 if its lease was extended, 0 if the worker has lost the job, or the marker of a cancel.
local answers, entries = {}, {}
for i = 2, #ARGV, 2 do
  local h = read_job(ARGV[i], 'version', 'state', 'entry', 'cancel')
  if h[1] ~= ARGV[i + 1] or h[2] ~= 'running' then
    answers[#answers + 1] = 0
  else
    entries[#entries + 1] = h[3]
    answers[#answers + 1] = h[4] or 1
  end
end
if #entries > 0 then
  local claim = { 'XCLAIM', jobs, group, ARGV[1], 0 }
  for _, entry in ipairs(entries) do claim[#claim + 1] = entry end
  claim[#claim + 1] = 'JUSTID'
  redis.call(unpack(claim))
end
return answers
