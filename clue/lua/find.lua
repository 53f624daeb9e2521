-- Finds one message in a channel's log, and what came after it that names it (replies to it, its deletion).
--
-- KEYS  1 log            (clue/keys.py)
-- ARGV  1 id of the message  2 what its publication begins with: the id as protobuf writes it  3 entries of one step
-- Returns publications that hold the id, newest first; the last is the message's own. Empty: the log has it no more.

local found = {}
local last = '+'
while true do
  local entries = redis.call('XREVRANGE', KEYS[1], last, '-', 'COUNT', ARGV[3])
  for _, entry in ipairs(entries) do
    local publication = entry[2][4]
    if string.find(publication, ARGV[1], 1, true) then
      found[#found + 1] = publication
      if string.sub(publication, 1, #ARGV[2]) == ARGV[2] then
        return found
      end
    end
    last = '(' .. entry[1]
  end
  if #entries == 0 then
    return {}
  end
end
