-- Replaces the words of all channels, if they are still those that the caller has read.
--
-- KEYS  1 vocabulary            (clue/keys.py)
-- ARGV  1 terms as read  2 emotes as read  3 terms  4 emotes
-- Returns 1 when it was done, else 0

local known = redis.call('HMGET', KEYS[1], 'terms', 'emotes')
if (known[1] or '') ~= ARGV[1] or (known[2] or '') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'terms', ARGV[3], 'emotes', ARGV[4])
return 1
