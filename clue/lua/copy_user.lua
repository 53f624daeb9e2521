-- Makes an account here what it is on the other side, where it is newer there. Tokens of both sides count.
--
-- KEYS  1 user            (clue/keys.py)
-- ARGV  1 "1": the other side is the authority, and an account of another id gives way to it
--       2 id  3 version, then fields and values of all of the account
-- Returns id, login, display_name, color, version, type as they are now

local user = KEYS[1]
local own = redis.call('HMGET', user, 'id', 'version')
local same = not own[1] or own[1] == ARGV[2]
local newer = not own[1] or (same and tonumber(ARGV[3]) > tonumber(own[2] or '0')) or (not same and ARGV[1] == '1')
for i = 4, #ARGV, 2 do
  if string.sub(ARGV[i], 1, 6) == 'token:' then
    if same or newer then
      redis.call('HSETNX', user, ARGV[i], ARGV[i + 1])
    end
  elseif newer then
    redis.call('HSET', user, ARGV[i], ARGV[i + 1])
  end
end
return redis.call('HMGET', user, 'id', 'login', 'display_name', 'color', 'version', 'type')
