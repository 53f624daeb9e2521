-- Appends accepted submissions of one channel to its log, and changes its state, exactly once a batch, in one atomic
-- step.
--
-- Each group is one edge's batch for this channel. A batch that was committed before gets the results it had then; one
-- older than the last committed gets "S" (superseded); one that was decided on another version of the channel's state
-- gets "V" (stale: nothing was done, decide again). While the channel is frozen, in the last moment of a move, what is
-- not a repeat gets "F" (nothing was done, try again). Otherwise each item gets, in order, its result.
--
-- A channel that lives elsewhere gets nothing at all. While a move is being prepared, what is changed is noted in dirty
-- ("<key> <field>"), so that it is read again; new entries of the log are found by their numbers.
--
-- Numbers: seq counts up by one. When the server's run_id is not the one that gave the last seq (restart, crash,
-- promotion: writes may have been lost) or nothing is known, it goes on at max(last + 1, TIME in ms * 1000), below 2^53.
-- prev is the log's true previous entry. A new version is never one used before either: max(old + 1, TIME in us).
--
-- KEYS  1 head  2 log  3 batches  4 last  5 room  6 bans  7 roles  8 held  9 first  10 unique  11 dirty
--       (clue/keys.py)
-- ARGV  1 now, UNIX ms (the caller's clock)
--       2 log bound, entries (the stream is cut in whole nodes: up to about 100 more stay)
--       3 time to live of log, batches and unique, s
--       4 this cluster  5 where the channel lives if nothing is stored (home.lua)
--       6 number of groups, then for each group:
--           edge run ("": not a batch, cannot be repeated), batch, version ("": any), number of items, then for each
--           item one of
--             "-", denial                    denied already: "msg-id" or "msg-id:number"
--             "+", publication               accepted
--             "*", publication, user id, floor in ms, text hash, unique, suffix
--               accepted, unless one of these hinders it:
--               floor: least time since the user's last delivered message here; over 1,000 it is slow mode. The text
--                 hash is not the one of that message, when it is less than 30 s old. "": neither is looked at
--               unique: "1": the text hash is none of the user's last UNIQUE_KEPT
--               suffix: "<day> <bytes>": when it is the user's first message here, the day is remembered and the bytes
--                 are appended to the publication; "": it is not
--             "!", result, number of arguments that follow, operations, one after the other:
--               "s", KEYS index, field, value   a field of the state ("": delete it): the version rises
--               "w", KEYS index, field, value   the same for what is not state
--               "p", publication                appended
-- Returns where the channel lives, when it is not here; else { prev of the first entry appended, for each group its
-- results }, results being "N r r ..." (committed now), "R r r ..." (a repeat: as committed then), "S", "V" or "F"; r is
--     "<seq>", or "<seq>f" when the suffix was appended, or "-<denial>", or "<result>" of "!", followed by
--     "@<first seq>-<last seq>" when it appended something.
--   Entries appended by one call have consecutive numbers, each the next one's prev.

local head_key, log_key, batches_key, last_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local held_key, first_key, unique_key, dirty_key = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local now, log_bound, ttl, group_count = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6])
local now_text = ARGV[1]

local DUPLICATE_MS = 30000      -- tmi_protocol section 7
local LAST_KEEP_MS = 120000     -- the longest slow mode
local LAST_BOUND = 1000         -- users remembered before the old ones are looked for
local BATCH_KEEP_MS = 600000    -- far above the time an edge retries (5.5 s)
local UNIQUE_KEPT = 50          -- texts of a user
local HELD_BOUND = 200          -- held messages before the expired ones are looked for
local HELD_KEEP_S = 3600        -- of all of them, after the last one; each tells itself when it expires
local HASH_BYTES = 8
local DIRTY_KEEP_S = 7200       -- longer than any move
local CHUNK = 1000              -- Lua's stack holds about 8,000 arguments of one call

local STATE = { [5] = 'room ', [6] = 'bans ', [7] = 'roles ', [8] = 'held ' }

local head = redis.call('HMGET', head_key, 'seq', 'run', 'version', 'home', 'moving', 'frozen')
local away = elsewhere(head[4], ARGV[4], ARGV[5])
if away then
  return away
end
local version = head[3] or '0'
local frozen = head[6] and frozen_until(head[6]) > time_ms()
local dirty = preparing(head[5], now) and {} -- nil or false: no move is being prepared
local seq, first_prev = nil, nil
local appended = false
local state_changed, last_used, held_used, unique_used = false, false, false, false

local function note(what, field) -- only where `dirty` is there: most of the time it is not
  dirty[#dirty + 1] = what .. field
end

-- Finds where the log goes on; called for the first entry only.
local function begin()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local last = tonumber(head[1] or '0')
  if run == head[2] then
    seq, first_prev = last, text_of(last)
    return
  end
  first_prev = '0'
  local newest = redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 1)[1]
  if newest then
    first_prev = string.match(newest[1], '^(%d+)')
    last = math.max(last, tonumber(first_prev))
  end
  seq = math.max(last, time_ms() * 1000 - 1)
  redis.call('HSET', head_key, 'run', run)
end

local function append(publication)
  if not seq then
    begin()
  end
  local prev = appended and text_of(seq) or first_prev
  appended = true
  seq = seq + 1
  local id = text_of(seq)
  redis.call('XADD', log_key, 'MAXLEN', '~', log_bound, id .. '-0', 'p', prev, 'd', publication)
  return id
end

-- Why the user's message cannot be delivered now, or nil. Equal text is told before haste: waiting would not help it.
local function hindrance(user, floor, hash)
  local last = redis.call('HGET', last_key, user)
  if not last then
    return nil
  end
  local at, last_hash = string.match(last, '^(%d+) (.*)$')
  local age = now - tonumber(at)
  if hash == last_hash and age < DUPLICATE_MS then
    return '-msg_duplicate'
  end
  if age < floor then
    if floor > 1000 then
      return '-msg_slowmode:' .. text_of(math.ceil((floor - age) / 1000))
    end
    return '-msg_ratelimit'
  end
  return nil
end

-- Whether none of the user's last texts is this one.
local function is_unique(known, hash)
  for i = 1, #known, HASH_BYTES do
    if string.sub(known, i, i + HASH_BYTES - 1) == hash then
      return false
    end
  end
  return true
end

local function decide(publication, user, floor, hash, unique, suffix)
  if floor ~= '' then
    local denial = hindrance(user, tonumber(floor), hash)
    if denial then
      return denial
    end
  end
  if unique ~= '' then
    local known = redis.call('HGET', unique_key, user) or ''
    if not is_unique(known, hash) then
      return '-msg_r9k'
    end
    redis.call('HSET', unique_key, user, string.sub(known .. hash, -UNIQUE_KEPT * HASH_BYTES))
    unique_used = true
    if dirty then
      note('unique ', user)
    end
  end
  if floor ~= '' then
    redis.call('HSET', last_key, user, now_text .. ' ' .. hash)
    last_used = true
    if dirty then
      note('last ', user)
    end
  end
  if suffix ~= '' then
    local day, bytes = string.match(suffix, '^(%d+) (.*)$')
    if redis.call('HSETNX', first_key, user, day) == 1 then
      if dirty then
        note('first ', user)
      end
      return append(publication .. bytes) .. 'f'
    end
  end
  return append(publication)
end

-- Carries out the operations from ARGV[at] to before ARGV[past]; returns what is told of the entries appended.
local function carry_out(at, past)
  local first, last = nil, nil
  while at < past do
    local operation = ARGV[at]
    if operation == 'p' then
      last = append(ARGV[at + 1])
      first = first or last
      at = at + 2
    else
      local index = tonumber(ARGV[at + 1])
      local key = KEYS[index]
      if dirty then
        note(STATE[index], ARGV[at + 2])
      end
      if ARGV[at + 3] == '' then
        redis.call('HDEL', key, ARGV[at + 2])
      else
        redis.call('HSET', key, ARGV[at + 2], ARGV[at + 3])
        held_used = held_used or key == held_key
      end
      if operation == 's' then
        state_changed = true
      end
      at = at + 4
    end
  end
  return first and '@' .. first .. '-' .. last or ''
end

-- Where the item after the one at ARGV[at] stands.
local function after(at)
  local kind = ARGV[at]
  if kind == '*' then
    return at + 7
  elseif kind == '!' then
    return at + 3 + tonumber(ARGV[at + 2])
  end
  return at + 2
end

local results = {}
local at = 7
for group = 1, group_count do
  local edge_run, batch, group_version, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  at = at + 4
  local stored = edge_run ~= '' and redis.call('HGET', batches_key, edge_run)
  local stored_batch, stored_results
  if stored then
    stored_batch, stored_results = string.match(stored, '^(%d+) %d+(.*)$')
  end
  local result
  if stored and stored_batch == batch then
    result = 'R' .. stored_results
  elseif stored_batch and tonumber(stored_batch) > tonumber(batch) then
    result = 'S'
  elseif frozen then
    result = 'F'
  elseif group_version ~= '' and (group_version ~= version or state_changed) then
    result = 'V'
  end
  if result then
    for _ = 1, count do
      at = after(at)
    end
  else
    local texts = {}
    for item = 1, count do
      local kind, past = ARGV[at], after(at)
      if kind == '-' then
        texts[item] = ' -' .. ARGV[at + 1]
      elseif kind == '+' then
        texts[item] = ' ' .. append(ARGV[at + 1])
      elseif kind == '*' then
        texts[item] = ' ' .. decide(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6])
      else
        texts[item] = ' ' .. ARGV[at + 1] .. carry_out(at + 3, past)
      end
      at = past
    end
    local joined = table.concat(texts)
    result = 'N' .. joined
    if edge_run ~= '' then
      if not stored then
        -- An edge's first batch here: the moment to forget edges that are gone.
        local all = redis.call('HGETALL', batches_key)
        for i = 1, #all, 2 do
          if now - tonumber(string.match(all[i + 1], '^%d+ (%d+)')) > BATCH_KEEP_MS then
            redis.call('HDEL', batches_key, all[i])
          end
        end
      end
      redis.call('HSET', batches_key, edge_run, batch .. ' ' .. now_text .. joined)
      if dirty then
        note('batches ', edge_run)
      end
    end
  end
  results[group] = result
end

redis.call('EXPIRE', batches_key, ttl)
if state_changed then
  version = next_version(version)
  redis.call('HSET', head_key, 'version', version)
  redis.call('PERSIST', head_key)
end
if appended then
  redis.call('HSET', head_key, 'seq', text_of(seq))
  redis.call('EXPIRE', log_key, ttl)
  -- A version is never forgotten: it would come back as "0", which an old decision may have been made on.
  if version == '0' then
    redis.call('EXPIRE', head_key, ttl)
  end
end
if held_used then
  redis.call('EXPIRE', held_key, HELD_KEEP_S)
  if redis.call('HLEN', held_key) > HELD_BOUND then
    local all = redis.call('HGETALL', held_key)
    for i = 1, #all, 2 do
      if tonumber(string.match(all[i + 1], '^(%d+)')) < now then
        redis.call('HDEL', held_key, all[i])
      end
    end
  end
end
if unique_used then
  redis.call('EXPIRE', unique_key, ttl)
end
if last_used then
  redis.call('PEXPIRE', last_key, LAST_KEEP_MS)
  local known = redis.call('HLEN', last_key)
  if known > LAST_BOUND and known > tonumber(redis.call('HGET', head_key, 'trim') or '0') then
    local all = redis.call('HGETALL', last_key)
    for i = 1, #all, 2 do
      if now - tonumber(string.match(all[i + 1], '^(%d+)')) > LAST_KEEP_MS then
        redis.call('HDEL', last_key, all[i])
        known = known - 1
      end
    end
    -- Not again before it has doubled: so the search costs each message the same, however many users speak.
    redis.call('HSET', head_key, 'trim', known * 2)
  end
end

if dirty and #dirty > 0 then
  for i = 1, #dirty, CHUNK do
    redis.call('SADD', dirty_key, unpack(dirty, i, math.min(i + CHUNK - 1, #dirty)))
  end
  redis.call('EXPIRE', dirty_key, DIRTY_KEEP_S)
end

return { first_prev or '0', unpack(results) }
