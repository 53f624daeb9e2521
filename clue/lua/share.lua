-- Tells the shared directory of one cluster, and reads what it has.
--
-- KEYS  1 clusters  2 homes  3 version of the homes            (clue/keys.py)
-- ARGV  1 cluster  2 its serialized entry  3 version of the homes that the caller has
-- Returns { version, { cluster, "<when> <entry>", ... }, { channel, home, ... ; empty when it is the caller's version } }

redis.call('HSET', KEYS[1], ARGV[1], text_of(time_ms()) .. ' ' .. ARGV[2])
local version = redis.call('GET', KEYS[3])
if not version then
  version = next_version('0')
  redis.call('SET', KEYS[3], version)
end
return { version, redis.call('HGETALL', KEYS[1]), version == ARGV[3] and {} or redis.call('HGETALL', KEYS[2]) }
