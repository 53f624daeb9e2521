-- Stores one page of a channel that is being moved here.
--
-- KEYS  1 head  2 edges  3 what the keys of the sets of chatters begin with  4 the channel's other keys, as many as
--       ARGV 7 says, then the key of each piece            (clue/keys.py)
-- ARGV  1 this cluster  2 where the channel lives if nothing is stored (home.lua)
--       3 move  4 cluster it comes from  5 "1": the place is emptied before  6 number of the page ("0": none)
--       7 number of the channel's other keys
--       then for each piece: kind, time to live in ms ("0": none), number of fields, fields, number of removed, removed
--         hash    field, value, ...           removed: fields
--         stream  number, prev, publication   those that are not above what is stored are left out
--         set     members                     removed: members; "": all others
--         zset    member, score, ...
-- Returns "" or why not

local head_key, edges_key, prefix = KEYS[1], KEYS[2], KEYS[3]
local move, number, others = ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local CHUNK = 1000 -- even; Lua's stack holds about 8,000 arguments of one call
local OWN = { home = true, moving = true, frozen = true, round = true, prepared = true, page = true }

local head = redis.call('HMGET', head_key, 'home', 'prepared', 'page')
if not elsewhere(head[1], ARGV[1], ARGV[2]) then
  return 'it lives here'
end
if head[2] == move and number > 0 and number <= tonumber(head[3] or '0') then
  return '' -- it came late, or again
end
if ARGV[5] == '1' then
  local moved = head[1] and string.match(head[1], ' (%S+)$')
  if (head[2] and head[2] > move) or (moved and moved > move) then
    return 'a later move has begun'
  end
  for _, run in ipairs(redis.call('ZRANGE', edges_key, 0, -1)) do
    redis.call('UNLINK', prefix .. run)
  end
  redis.call('UNLINK', head_key, edges_key, unpack(KEYS, 4, 3 + others))
  redis.call('HSET', head_key, 'home', ARGV[4], 'prepared', move)
elseif head[2] ~= move then
  return head[2] and 'another move, ' .. head[2] .. ', has begun' or 'no such move was prepared: store its first page'
end
redis.call('HSET', head_key, 'page', ARGV[6])

local function each(command, key, from, past, step)
  for i = from, past - 1, CHUNK * step do
    redis.call(command, key, unpack(ARGV, i, math.min(i + CHUNK * step, past) - 1))
  end
end

local at = 8
for piece = 4 + others, #KEYS do
  local key, kind, ttl, count = KEYS[piece], ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local first = at + 3
  local gone = first + count + 1
  local removed = tonumber(ARGV[gone - 1])
  at = gone + removed
  if kind == 'hash' and key == head_key then
    for i = first, first + count - 1, 2 do
      if not OWN[ARGV[i]] then
        redis.call('HSET', key, ARGV[i], ARGV[i + 1])
      end
    end
  elseif kind == 'hash' then
    each('HSET', key, first, first + count, 2)
    each('HDEL', key, gone, at, 1)
  elseif kind == 'stream' then
    local entry = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    local newest = entry and tonumber(string.match(entry[1], '^%d+')) or 0
    for i = first, first + count - 1, 3 do
      if tonumber(ARGV[i]) > newest then
        redis.call('XADD', key, ARGV[i] .. '-0', 'p', ARGV[i + 1], 'd', ARGV[i + 2])
      end
    end
  elseif kind == 'set' then
    if removed > 0 and ARGV[gone] == '' then
      redis.call('UNLINK', key)
    else
      each('SREM', key, gone, at, 1)
    end
    each('SADD', key, first, first + count, 1)
  elseif kind == 'zset' then
    for i = first, first + count - 1, 2 do
      redis.call('ZADD', key, ARGV[i + 1], ARGV[i])
    end
  end
  if ttl > 0 and key ~= head_key then
    redis.call('PEXPIRE', key, ttl)
  end
end
return ''
