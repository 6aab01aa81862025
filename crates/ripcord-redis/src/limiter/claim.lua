
-- Takes tokens. ARGV: the number of tokens, the longest wait in microseconds (-1 is any), and the ID for a promise.
-- Returns 1 and the delay if the tokens were taken, 0 and the delay if they would come too late, 2 and the burst if the number
-- is above the burst, and 3 if too many tokens are promised.
local wanted, longest = tonumber(ARGV[5]), tonumber(ARGV[6])
if is_infinite then return {1, 0} end
if wanted > burst then return {2, burst} end
local start, stop = spent, spent + wanted
local delay = delay_of(stop)
if delay ~= 0 then
    if longest >= 0 and (delay < 0 or delay >= longest) then return {0, delay} end
    if stop - earned > 2 ^ 36 then return {3, 0} end
    local due = redis.call('ZREVRANGEBYSCORE', KEYS[2], earned, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if due[2] then
        floor = math.max(floor or due[2], due[2])
        redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', earned)
    end
    if redis.call('ZCARD', KEYS[2]) == 0 then floor = start end
    redis.call('ZADD', KEYS[2], stop, ARGV[7])
end
spent = stop
save()
return {1, delay}
