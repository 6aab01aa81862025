-- Returns the waiting, running, delayed and dead jobs, and then the counters in the order of ARGV.
local length, running = redis.call('XLEN', jobs), 0
if length > 0 then
  local pending = redis.pcall('XPENDING', jobs, group)
  -- No worker has created the group yet.
  if not pending.err then running = pending[1] end
end
local answer = { math.max(0, length - running), running, redis.call('ZCARD', delayed), redis.call('ZCARD', dead) }
for _, n in ipairs(redis.call('HMGET', stats, unpack(ARGV))) do answer[#answer + 1] = tonumber(n or 0) end
return answer
