-- Reads what decisions in a channel are made on, all of one version.
--
-- KEYS  1 head  2 room  3 bans  4 roles            (clue/keys.py)
-- ARGV  user ids
-- Returns { version, head seq ("0": no log), { field, value, ... of the room },
--           { until when banned ("": not), roles ("": none), ... for each user id in order } }

local head = redis.call('HMGET', KEYS[1], 'version', 'seq')
local users = {}
for i = 1, #ARGV do
  users[#users + 1] = redis.call('HGET', KEYS[3], ARGV[i]) or ''
  users[#users + 1] = redis.call('HGET', KEYS[4], ARGV[i]) or ''
end
return { head[1] or '0', head[2] or '0', redis.call('HGETALL', KEYS[2]), users }
