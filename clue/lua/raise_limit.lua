-- A user's limits come along with a channel: what was taken from them there counts here, too.
--
-- KEYS  1 limits  2 lockout            (clue/keys.py)
-- ARGV  1 messages of the window under way  2 ms until it ends  3 ms until the lock-out ends (0: none)

if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or '0') then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
if tonumber(ARGV[3]) > 0 then
  redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
end
return 1
