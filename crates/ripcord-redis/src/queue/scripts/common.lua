-- KEYS[1] is the start of every key of the queue. Its hash tag keeps all keys of the queue on one node of a cluster.
local base, group = KEYS[1], 'workers'
local jobs, delayed, dead, stats = base .. ':jobs', base .. ':delayed', base .. ':dead', base .. ':stats'

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function job_key(id)
  return base .. ':job:' .. id
end

-- Runs a command. Returns an empty table if the command fails with the error `expected`.
local function call_unless(expected, ...)
  local answer = redis.pcall(...)
  if not answer.err then return answer end
  if string.find(answer.err, expected, 1, true) then return {} end
  return error(answer)
end

-- Reads fields of a job. If a program has overwritten the job with a value of another type, the job counts as missing, so that the
-- other jobs of the batch are not held up.
local function read_job(id, ...)
  return call_unless('WRONGTYPE', 'HMGET', job_key(id), ...)
end

-- Returns the worker that holds an entry. If the stream was deleted, no worker holds the entry.
local function holder(entry)
  local held = call_unless('NOGROUP', 'XPENDING', jobs, group, entry, entry, 1)[1]
  return held and held[2]
end

local function count(name, n)
  if n > 0 then redis.call('HINCRBY', stats, name, n) end
end

-- Adds a job to the end of the waiting jobs.
local function enqueue(id)
  local entry = redis.call('XADD', jobs, '*', 'id', id)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'entry', entry)
end

-- Removes the entry of a job from the stream and from the entries that a worker holds.
local function remove(entry)
  redis.call('XACK', jobs, group, entry)
  redis.call('XDEL', jobs, entry)
end

-- Makes a job a dead letter.
local function bury(id, reason, text)
  redis.call('HSET', job_key(id), 'state', 'dead', 'reason', reason, 'error', text)
  redis.call('ZADD', dead, now(), id)
  count('dead', 1)
end
