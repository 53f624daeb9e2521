-- One step of a move, at the old home or (settle, abort) at the new one. Each may be repeated.
--
-- KEYS  1 head  2 log  3 dirty  4 taken, then the channel's other keys            (clue/keys.py)
-- ARGV  1 this cluster  2 where the channel lives if nothing is stored (home.lua)
--       3 step  4 move  5 cluster it goes to  6 length of a freeze, ms  7 time to live of what is left behind, s
--         begin   changes are noted from now on; a newer move takes the place of an older one
--         freeze  commits wait from now on, for that long at most
--         switch  the channel lives there from now on: only while frozen, and when all changes were read
--         abort   all as it was; at the new home the copy goes. Move "": whatever is under way
--         settle  at the new home: it lives here from now on, if that move brought it, or if all was lost here
-- Returns where the channel lives, when it is not here; else { "" or why not, seq of the newest entry, moving }

local head_key, log_key, dirty_key, taken_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local own, step, move, to = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
local head = redis.call('HMGET', head_key, 'home', 'moving', 'frozen', 'prepared', 'version', 'seq', 'round')
local away = elsewhere(head[1], own, ARGV[2])
local moving = head[2] and string.match(head[2], '^%S+')
local now = time_ms()

local function newest()
  local entry = redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 1)[1]
  return entry and string.match(entry[1], '^%d+') or '0'
end

local function forget()
  redis.call('HDEL', head_key, 'moving', 'frozen', 'round')
  redis.call('DEL', dirty_key, taken_key)
end

local function answer(why)
  local found = redis.call('HMGET', head_key, 'seq', 'moving')
  return { why, found[1] or '0', found[2] or '' }
end

if step == 'settle' then
  if away and (head[4] == move or not (head[1] or head[4])) then
    redis.call('HSET', head_key, 'home', own .. ' ' .. move, 'version', next_version(head[5] or '0'))
    redis.call('HDEL', head_key, 'prepared', 'page')
    redis.call('PERSIST', head_key)
    return answer('')
  end
  return away or answer('')
end

if step == 'abort' and away and head[4] == move then
  redis.call('HDEL', head_key, 'prepared', 'page')
  redis.call('DEL', log_key, unpack(KEYS, 5))
  return away
end
if step == 'switch' and away == to .. ' ' .. move then
  return answer('')
end
if away then
  return away
end

if step == 'abort' then
  if moving and move ~= '' and moving > move then
    return answer('a later move, ' .. moving .. ', has begun')
  end
  forget()
  return answer('')
end

if tonumber(string.sub(move, 1, 13)) + MOVE_KEEP_MS <= now then
  return answer('the move began too long ago: begin another')
end

if step == 'begin' then
  if moving == move then
    return answer('')
  end
  if moving and moving > move then
    return answer('a later move, ' .. moving .. ', has begun')
  end
  if moving and frozen_until(head[3]) > now then
    return answer('another move, ' .. moving .. ', is in its last step')
  end
  forget()
  redis.call('HSET', head_key, 'moving', move .. ' ' .. to, 'round', '0 0 ' .. newest())
  redis.call('PERSIST', head_key)
  return answer('')
end

if moving ~= move then
  return answer(moving and 'another move, ' .. moving .. ', has begun' or 'no such move is under way: begin it')
end

if step == 'freeze' then
  redis.call('HSET', head_key, 'frozen', move .. ' ' .. text_of(now + tonumber(ARGV[6])))
  return answer('')
end

-- switch
if frozen_until(head[3]) <= now then
  return answer('it is not frozen (any more)')
end
if redis.call('EXISTS', dirty_key) == 1 or string.match(head[7], '%d+$') ~= newest() then
  return answer('it has changed since it was read: read the changes again')
end
forget()
redis.call('HSET', head_key, 'home', to .. ' ' .. move)
redis.call('PERSIST', head_key)
for i = 2, #KEYS do
  redis.call('EXPIRE', KEYS[i], ARGV[7])
end
return answer('')
