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
