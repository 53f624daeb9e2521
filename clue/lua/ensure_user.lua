-- Makes sure that a user exists; sets what it is told to set, and adds a token. An existing id never changes.
--
-- KEYS  1 user            (clue/keys.py)
-- ARGV  1 id, if it has to be created ("": it is not)  2 login  3 display name, if it has to be created
--       4 field of the token to add ("": none)  5 now, UNIX ms  then fields and values to set (display_name, color, type)
-- Returns { id, login, display_name, color, version, type }, all "" for no such user

local user = KEYS[1]
local changed = false
if redis.call('EXISTS', user) == 0 then
  if ARGV[1] == '' then
    return { '', '', '', '', '', '' }
  end
  redis.call('HSET', user, 'id', ARGV[1], 'login', ARGV[2], 'display_name', ARGV[3], 'color', '', 'created', ARGV[5])
  changed = true
end
for i = 6, #ARGV, 2 do
  if (redis.call('HGET', user, ARGV[i]) or '') ~= ARGV[i + 1] then
    redis.call('HSET', user, ARGV[i], ARGV[i + 1])
    changed = true
  end
end
if ARGV[4] ~= '' then
  redis.call('HSET', user, ARGV[4], ARGV[5])
end
if changed then
  -- Never a version used before, even when the server lost writes.
  local time = redis.call('TIME')
  local old = tonumber(redis.call('HGET', user, 'version') or '0')
  local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('HSET', user, 'version', string.format('%.0f', math.max(old + 1, micros)))
end
return redis.call('HMGET', user, 'id', 'login', 'display_name', 'color', 'version', 'type')
