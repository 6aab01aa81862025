-- ARGV: `jobs` or `dead`, and the maximum number of jobs. Returns for each job: its ID, the fields that `describe` lists.
local time, listed = now(), {}
local function describe(id)
  local h = read_job(id, 'state', 'job', 'attempts', 'submitted', 'deadline', 'worker', 'reason', 'error', 'cancel')
  if h[1] then
    local left = h[5] and math.max(0, h[5] - time) or -1
    listed[#listed + 1] = { id, h[1], h[2], tonumber(h[3] or 0), time - h[4], left, h[6] or '', h[7] or '', h[8] or '', h[9] or '' }
  end
end
if ARGV[1] == 'dead' then
  for _, id in ipairs(redis.call('ZRANGE', dead, 0, ARGV[2] - 1)) do describe(id) end
  return listed
end
for _, entry in ipairs(redis.call('XRANGE', jobs, '-', '+', 'COUNT', ARGV[2])) do describe(entry[2][2]) end
local more = ARGV[2] - #listed
if more > 0 then
  for _, id in ipairs(redis.call('ZRANGE', delayed, 0, more - 1)) do describe(id) end
end
return listed
