
-- Returns the settings, after the bucket has changed.
if not is_full then save() end
return redis.call('HMGET', KEYS[3], 'version', 'tokens', 'period', 'burst')
