-- ARGV: the IDs of dead letters, or nothing for the oldest 1,000. Returns the number of deleted jobs.
local ids = ARGV
if #ids == 0 then ids = redis.call('ZRANGE', dead, 0, 999) end
local n = 0
for _, id in ipairs(ids) do
  if redis.call('ZREM', dead, id) == 1 then
    redis.call('DEL', job_key(id))
    n = n + 1
  end
end
return n
