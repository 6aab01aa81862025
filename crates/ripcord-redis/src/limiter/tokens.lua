
-- Returns the number of tokens in the bucket.
return string.format('%.17g', is_full and burst or earned - spent)
