-- Takes a room from the list of rooms, unless it was made again since it was read there.
--
-- KEYS  1 rooms            (clue/keys.py)
-- ARGV  1 room  2 when it was made, as read
-- Returns 1 when it was taken, else 0

if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
