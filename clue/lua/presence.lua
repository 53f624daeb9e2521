-- Takes one edge's report on a channel, and tells who is in it over all edges.
--
-- Each edge has a set of its own, which lives as long as the edge reports it; a dead edge's chatters vanish with it.
--
-- KEYS  1 edges (sorted set: edge run -> when its set ends, ms)  2 what the keys of the sets begin with  3 head  4 dirty
--       (clue/keys.py)
-- ARGV  1 edge run  2 time to live of a set, ms
--       3 "full": these are all; "change": these came, these went; "": this edge reports nothing
--       4 bound of the list ("0": no list is wanted)
--       5 this cluster  6 where the channel lives if nothing is stored (home.lua)
--       7 number of those who came, 8 of those who went, 9 of logins with a role, then the logins in this order
-- Returns where the channel lives, when it is not here; else
--       { 0 when a change was reported on a set that is not there (any more), or in the last moment of a move, else 1;
--           number of chatters;
--           1 when the list is everybody, 0 when it is those with a role alone, as above the bound; { logins } }
--       The number is exact up to twice the bound. Above it a user on two edges counts twice: counting exactly would
--       join sets of any size, while everything else waits.

local edges, prefix = KEYS[1], KEYS[2]
local run, ttl, what, bound = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local came, went, ranked = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local FIRST, CHUNK = 10, 1000 -- Lua's stack holds about 8,000 arguments of one call

local head = redis.call('HMGET', KEYS[3], 'home', 'moving', 'frozen')
local away = elsewhere(head[1], ARGV[5], ARGV[6])
if away then
  return away
end
local now = time_ms()

local function each(command, key, from, count)
  for i = from, from + count - 1, CHUNK do
    redis.call(command, key, unpack(ARGV, i, math.min(i + CHUNK, from + count) - 1))
  end
end

redis.call('ZREMRANGEBYSCORE', edges, '-inf', now) -- their sets have ended by themselves

local known = 1
local own = prefix .. run
if what ~= '' and frozen_until(head[3]) > now then
  known = 0 -- what is written now would not be read any more
elseif what == 'full' then
  redis.call('DEL', own)
elseif what == 'change' and redis.call('EXISTS', own) == 0 then
  known = 0
end
if what ~= '' and known == 1 then
  if preparing(head[2], now) then
    redis.call('SADD', KEYS[4], 'edges ', 'chatters:' .. run .. ' ')
  end
  each('SADD', own, FIRST, came)
  each('SREM', own, FIRST + came, went)
  if redis.call('PEXPIRE', own, ttl) == 1 then
    redis.call('ZADD', edges, now + ttl, run)
    redis.call('PEXPIRE', edges, ttl)
  else
    redis.call('ZREM', edges, run)
  end
end

if bound == 0 then
  return { known, 0, 0, {} }
end
local sets, total = {}, 0
for i, live in ipairs(redis.call('ZRANGE', edges, 0, -1)) do
  sets[i] = prefix .. live
  total = total + redis.call('SCARD', sets[i])
end
if total <= 2 * bound then
  local logins = {}
  if #sets > 0 then
    logins = redis.call('SUNION', unpack(sets))
  end
  total = #logins
  if total <= bound then
    return { known, total, 1, logins }
  end
end
local here = {}
for i = FIRST + came + went, FIRST + came + went + ranked - 1 do
  for _, set in ipairs(sets) do
    if redis.call('SISMEMBER', set, ARGV[i]) == 1 then
      here[#here + 1] = ARGV[i]
      break
    end
  end
end
return { known, total, 0, here }
