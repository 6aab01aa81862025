
-- Returns the time until a promise is due, in microseconds, or -1 for never. ARGV: the ID of the promise.
local stop = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[5]))
if is_full or not stop then return 0 end
save()
return delay_of(stop)
