-- Registers a service, or lets it leave, and returns who is there. Those not seen for their time to live are forgotten.
--
-- An order is kept for one run of a service: when it leaves, or another run registers, the order is forgotten.
--
-- KEYS  1 directory  2 orders            (clue/keys.py)
-- ARGV  1 time to live, ms
--       2 "register", "leave" or "read", then for the first two  3 field  4 run, and to register  5 registration
--       A service leaves only when it is still the run that registered last.
-- Returns { the order for the one that registers ("": none), last seen, registration, ... }

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ttl, what, field, run = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]

local order = ''
if what == 'register' then
  local kept = redis.call('HGET', KEYS[2], field)
  if kept and string.match(kept, '^%d+') == run then
    order = kept
  elseif kept then
    redis.call('HDEL', KEYS[2], field)
  end
  redis.call('HSET', KEYS[1], field, string.format('%.0f', now) .. ' ' .. run .. ' ' .. ARGV[5])
elseif what == 'leave' then
  local value = redis.call('HGET', KEYS[1], field)
  if value and string.match(value, '^%d+ (%d+) ') == run then
    redis.call('HDEL', KEYS[1], field)
    redis.call('HDEL', KEYS[2], field)
  end
end

local live = { order }
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local seen, registration = string.match(all[i + 1], '^(%d+) %d+ (.*)$')
  if now - tonumber(seen) > ttl then
    redis.call('HDEL', KEYS[1], all[i])
  else
    live[#live + 1] = seen
    live[#live + 1] = registration
  end
end
return live
