
-- Returns tokens that were not used. ARGV: the number of tokens, and the ID of their promise. Returns the number of tokens that
-- returned to the bucket.
if is_full then return 0 end
local returned = 0
local stop = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[6]))
if stop then redis.call('ZREM', KEYS[2], ARGV[6]) end
if stop and stop > earned then
    -- The tokens are free if no later promise exists. So are the tokens before them, back to the previous promise.
    local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
    local before = math.max(tonumber(last[2]) or floor, floor)
    if before < stop then
        returned = stop - before
        spent = spent - returned
    end
else
    local lowest = earned - burst
    returned = math.min(tonumber(ARGV[5]), spent - lowest)
    spent = spent - returned
end
save()
-- The number has a fraction if the bucket is full now, because a part of a token was earned again meanwhile.
return math.ceil(returned)
