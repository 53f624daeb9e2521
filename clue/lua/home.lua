-- Put in front of the scripts that answer only for channels that live here.
--
-- `stored`: the head's field home, "<cluster>" or "<cluster> <move>"; `assumed`: the same for a channel of which nothing
-- is stored, "" for here; `own`: this cluster. Returns the home when it is not here, else nil.

local function elsewhere(stored, own, assumed)
  local home = stored or assumed
  if home ~= '' and string.match(home, '^%S+') ~= own then
    return home
  end
  return nil
end

local function text_of(number)
  return string.format('%.0f', number)
end

local function time_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Until when commits wait, or 0; `stored`: the head's field frozen, "<move> <until when>".
local function frozen_until(stored)
  return stored and tonumber(string.match(stored, ' (%d+)$')) or 0
end

local MOVE_KEEP_MS = 3600000 -- a move that takes longer is given up: nothing is noted for it any more

-- Whether a move is being prepared; `stored`: the head's field moving, "<13 digits of UNIX ms>-... <to>".
local function preparing(stored, now)
  return stored and tonumber(string.sub(stored, 1, 13)) + MOVE_KEEP_MS > now
end

-- The state gets a version never used before, also where the channel lived before.
local function next_version(old)
  local time = redis.call('TIME')
  return text_of(math.max(tonumber(old) + 1, tonumber(time[1]) * 1000000 + tonumber(time[2])))
end
