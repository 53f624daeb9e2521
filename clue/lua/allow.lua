-- Takes a user's messages from its rate limit, and tells when the caller's copy of the profile is old.
--
-- The limit is a fixed window that begins with the first message in it. Every message counts, whichever the channel;
-- an ordinary one is refused above the lower bound, a privileged one above the higher (clue/limiter.py).
--
-- Who goes over the lower bound may be locked out: for so long every ordinary message is refused (tmi_protocol section 9).
--
-- KEYS  1 user  2 limits  3 lockout            (clue/keys.py)
-- ARGV  1 version of the profile that the caller has ("": none)
--       2 messages in the order sent, one letter each: o ordinary, p privileged, n neither asks nor takes
--       3 ordinary bound, messages  4 privileged bound, messages (0: no limit)  5 window, ms
--       6 length of a lock-out, ms (0: there is none)
-- Returns { "1" allowed or "0" refused for each message, as one string,
--           and when the version is another one: id, login, display_name, color, version, type (all "" for no such user) }

local bounds = { o = tonumber(ARGV[3]), p = tonumber(ARGV[4]), n = 0 }
local lockout = tonumber(ARGV[6])
local locked = lockout > 0 and redis.call('EXISTS', KEYS[3]) == 1
local used, taken = nil, 0
local answers = {}
for i = 1, #ARGV[2] do
  local letter = string.sub(ARGV[2], i, i)
  local bound = bounds[letter]
  if bound > 0 and not used then
    used = tonumber(redis.call('GET', KEYS[2]) or '0')
  end
  if bound == 0 then
    answers[i] = '1'
  elseif used + taken < bound and not (locked and letter == 'o') then
    taken = taken + 1
    answers[i] = '1'
  else
    answers[i] = '0'
    if lockout > 0 and letter == 'o' and not locked then
      redis.call('SET', KEYS[3], '1', 'PX', lockout)
      locked = true
    end
  end
end
if taken > 0 and redis.call('INCRBY', KEYS[2], taken) == taken then
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end

local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= '' and version == ARGV[1] then
  return { table.concat(answers) }
end
local profile = redis.call('HMGET', KEYS[1], 'id', 'login', 'display_name', 'color', 'version', 'type')
for i = 1, 6 do
  profile[i] = profile[i] or ''
end
return { table.concat(answers), unpack(profile) }
