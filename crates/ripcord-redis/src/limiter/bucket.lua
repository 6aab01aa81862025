-- Reads the bucket of a key, at the time of the server's clock. Every script of the limiter contains this part.
--
-- KEYS: the bucket, its promises, and the settings of all buckets of the limiter.
-- ARGV: the tokens per period (-1 is infinite), the period in nanoseconds, the burst, and whether the key has its own quota.
--
-- A position is a number of tokens since the bucket was created. `earned` is the position up to which tokens are earned, and
-- `spent` is the position up to which they are granted. `earned` grows from `base` at the time `anchor`, so that rounding errors do
-- not add up. A promise is kept when its position is earned.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local tokens, period, burst = tonumber(ARGV[1]), tonumber(ARGV[2]) / 1000, tonumber(ARGV[3])
local changed_at = now
if ARGV[4] == '0' then
    local set = redis.call('HMGET', KEYS[3], 'tokens', 'period', 'burst', 'at')
    if set[1] then tokens, period = tonumber(set[1]), tonumber(set[2]) / 1000 end
    if set[3] then burst = tonumber(set[3]) end
    if set[4] then changed_at = tonumber(set[4]) end
end
local is_infinite = tokens < 0

local spent, base, anchor, floor, earned
local found = redis.call('HMGET', KEYS[1], 'spent', 'base', 'anchor', 'floor', 'seen', 'tokens', 'period', 'burst')
local is_found = found[1] and true or false
if is_found and not is_infinite then
    spent, base, anchor, floor = tonumber(found[1]), tonumber(found[2]), tonumber(found[3]), tonumber(found[4])
    local seen, old_tokens, old_period, old_burst = unpack(found, 5)
    seen, old_tokens, old_period, old_burst = tonumber(seen), tonumber(old_tokens), tonumber(old_period), tonumber(old_burst)
    if now < seen then
        -- The clock was set back, or another server has taken over. The bucket keeps what it has earned.
        base, anchor, seen = base + (seen - anchor) * old_tokens / old_period, now, now
    end
    if tokens ~= old_tokens or period ~= old_period or burst ~= old_burst then
        local change = math.min(math.max(changed_at, seen), now)
        base, anchor = base + (change - anchor) * old_tokens / old_period, change
        -- Tokens above the old burst are lost. A larger burst does not restore them.
        spent = math.max(spent, base - math.min(old_burst, burst))
    end
    earned = base + (now - anchor) * tokens / period
end
local is_full = is_infinite or not is_found or spent <= earned - burst
if is_full then
    -- A full bucket is like a new one. Its promises have been kept.
    if is_found then redis.call('DEL', KEYS[1], KEYS[2]) end
    spent, base, anchor, floor, earned = -burst, 0, now, nil, 0
end

-- Returns the time in microseconds until a position is earned, or -1 for never.
local function delay_of(position)
    if position <= earned then return 0 end
    if tokens == 0 then return -1 end
    local elapsed = math.ceil((position - base) * period / tokens)
    if base + elapsed * tokens / period < position then elapsed = elapsed + 1 end
    local delay = anchor + elapsed - now
    return delay < 9e15 and delay or -1
end

-- Stores the bucket until it is full.
local function save()
    redis.call('HSET', KEYS[1], 'spent', spent, 'base', base, 'anchor', anchor, 'seen', now,
        'tokens', tokens, 'period', period, 'burst', burst)
    if floor then redis.call('HSET', KEYS[1], 'floor', floor) end
    local full_in = tokens > 0 and math.ceil((anchor + (spent + burst - base) * period / tokens - now) / 1000) + 1
    for i = 1, floor and 2 or 1 do
        if full_in and full_in < 1e13 then
            redis.call('PEXPIRE', KEYS[i], full_in)
        else
            redis.call('PERSIST', KEYS[i])
        end
    end
end
