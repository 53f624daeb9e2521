-- Hands out a block of user ids. No id is handed out twice, even when the server lost its last writes.
--
-- When the server's run_id is another one, numbering goes on at max(next, (UNIX seconds - 1,600,000,000) * 1,000): above
-- all earlier ones as long as no more than 1,000 ids a second were taken on average.
--
-- KEYS  1 user ids            (clue/keys.py)
-- ARGV  1 size of the block
-- Returns the first id of the block

local known = redis.call('HMGET', KEYS[1], 'next', 'run')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local first = tonumber(known[1] or '1')
if run ~= known[2] then
  first = math.max(first, (tonumber(redis.call('TIME')[1]) - 1600000000) * 1000)
end
redis.call('HSET', KEYS[1], 'next', string.format('%.0f', first + tonumber(ARGV[1])), 'run', run)
return string.format('%.0f', first)
