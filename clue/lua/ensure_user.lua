-- Makes sure that a user exists; sets its display name and adds a token when told to. An existing id never changes.
--
-- KEYS  1 user            (clue/keys.py)
-- ARGV  1 id, if it has to be created  2 login  3 display name, if it has to be created
--       4 display name to set ("": leave)  5 field of the token to add ("": none)  6 now, UNIX ms
-- Returns { id, login, display_name, color, version }

local user = KEYS[1]
local changed = false
if redis.call('EXISTS', user) == 0 then
  redis.call('HSET', user, 'id', ARGV[1], 'login', ARGV[2], 'display_name', ARGV[3], 'color', '')
  changed = true
end
if ARGV[4] ~= '' and redis.call('HGET', user, 'display_name') ~= ARGV[4] then
  redis.call('HSET', user, 'display_name', ARGV[4])
  changed = true
end
if ARGV[5] ~= '' then
  redis.call('HSET', user, ARGV[5], ARGV[6])
end
if changed then
  -- Never a version used before, even when the server lost writes.
  local time = redis.call('TIME')
  local old = tonumber(redis.call('HGET', user, 'version') or '0')
  local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('HSET', user, 'version', string.format('%.0f', math.max(old + 1, micros)))
end
return redis.call('HMGET', user, 'id', 'login', 'display_name', 'color', 'version')
