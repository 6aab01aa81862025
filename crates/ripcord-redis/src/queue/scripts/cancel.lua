-- ARGV: the ID of the job, the marker of the cancel, and the channel.
-- Returns `missing`, `dead`, `removed` if the job did not run, or `running`. The first canceler wins.
local id = ARGV[1]
local job = job_key(id)
local h = read_job(id, 'state', 'entry')
if not h[1] then return 'missing' end
if h[1] == 'dead' then return 'dead' end
if h[1] == 'running' then
  if redis.call('HSETNX', job, 'cancel', ARGV[2]) == 1 then redis.call('PUBLISH', ARGV[3], ARGV[2]) end
  return 'running'
end
if h[1] == 'waiting' then remove(h[2]) else redis.call('ZREM', delayed, id) end
redis.call('DEL', job)
count('canceled', 1)
return 'removed'
