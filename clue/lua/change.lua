-- Changes one field of a channel's state and appends the entry that says so: never a state without its message.
--
-- Only when the state is still at the version on which the change was decided. The new version is never one used
-- before, even when the server lost writes: max(old + 1, TIME in microseconds).
--
-- KEYS  1 head  2 log  3 the hash to change (bans, roles or room)            (clue/keys.py)
-- ARGV  1 version decided on  2 field  3 new value ("": delete the field)  4 publication
--       5 log bound, entries  6 time to live of the log, s
-- Returns { seq, prev } of the entry, or {} when the version is another one: nothing was done.

local head_key, log_key, state_key = KEYS[1], KEYS[2], KEYS[3]
local decided_on, field, value, publication = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local log_bound, ttl = ARGV[5], tonumber(ARGV[6])

local head = redis.call('HMGET', head_key, 'seq', 'run', 'version')
if (head[3] or '0') ~= decided_on then
  return {}
end

local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- The same rule as in commit.lua.
local last = tonumber(head[1] or '0')
local prev = string.format('%.0f', last)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if run ~= head[2] then
  prev = '0'
  local newest = redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 1)[1]
  if newest then
    prev = string.match(newest[1], '^(%d+)')
    last = math.max(last, tonumber(prev))
  end
  last = math.max(last, math.floor(micros / 1000) * 1000 - 1)
end
local seq = string.format('%.0f', last + 1)

if value == '' then
  redis.call('HDEL', state_key, field)
else
  redis.call('HSET', state_key, field, value)
end
redis.call('XADD', log_key, 'MAXLEN', '~', log_bound, seq .. '-0', 'p', prev, 'd', publication)
redis.call('EXPIRE', log_key, ttl)
local version = string.format('%.0f', math.max(tonumber(decided_on) + 1, micros))
redis.call('HSET', head_key, 'seq', seq, 'run', run, 'version', version)
redis.call('PERSIST', head_key)
return { seq, prev }
