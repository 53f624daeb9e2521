-- Begins a round of reading what has changed in a channel that is being moved, at its old home.
--
-- KEYS  1 head  2 log  3 dirty  4 taken            (clue/keys.py)
-- ARGV  1 this cluster  2 where the channel lives if nothing is stored (home.lua)
--       3 move  4 round: the same as before repeats it; a greater one says that those before are stored; 0: all changes
--         since the move began
-- Returns where the channel lives, when it is not here; else { "" or why not, number above which the log's new entries
--   stand, number of the last one, { field, value, ... of the head } }. The names of the others are in taken.

local head = redis.call('HMGET', KEYS[1], 'home', 'moving', 'round')
local away = elsewhere(head[1], ARGV[1], ARGV[2])
if away then
  return away
end
if not head[2] or string.match(head[2], '^%S+') ~= ARGV[3] then
  return { 'no such move is under way: begin it', '0', '0', {} }
end
local entry = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local newest = entry and string.match(entry[1], '^%d+') or '0'
local round, after, upto = string.match(head[3], '^(%d+) (%d+) (%d+)$')
local asked = tonumber(ARGV[4])
if asked == 0 then
  if after == '0' then
    after = upto
  end
  upto = newest
  redis.call('SUNIONSTORE', KEYS[4], KEYS[4], KEYS[3])
  redis.call('DEL', KEYS[3])
elseif asked > tonumber(round) then
  round, after, upto = ARGV[4], upto, newest
  redis.call('DEL', KEYS[4])
  if redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('RENAME', KEYS[3], KEYS[4])
  end
end
redis.call('HSET', KEYS[1], 'round', round .. ' ' .. after .. ' ' .. upto)
return { '', after, upto, redis.call('HGETALL', KEYS[1]) }
