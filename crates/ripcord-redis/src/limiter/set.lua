-- Changes settings of all buckets. ARGV from 5: the channel, the limiter, and the settings with their values.
do
    local clock = redis.call('TIME')
    redis.call('HSET', KEYS[3], 'at', clock[1] * 1000000 + clock[2], unpack(ARGV, 7))
    local version = redis.call('HINCRBY', KEYS[3], 'version', 1)
    local set = redis.call('HMGET', KEYS[3], 'tokens', 'period', 'burst')
    local event = {
        kind = 'limit', limiter = ARGV[6], version = tostring(version),
        tokens = set[1] or nil, period = set[2] or nil, burst = set[3] or nil,
    }
    redis.call('PUBLISH', ARGV[5], cjson.encode(event))

    -- A setting that is not stored stays as the bucket has it.
    local own = redis.call('HMGET', KEYS[1], 'tokens', 'period', 'burst')
    if own[1] then ARGV[1], ARGV[2], ARGV[3] = own[1], own[2] * 1000, own[3] end
end
