-- Appends accepted submissions of one channel to its log, exactly once a batch, in one atomic step.
--
-- Each group is one edge's batch for this channel. A batch that was committed before gets the results it had then; one
-- older than the last committed gets "S" (superseded); one that was decided on another version of the channel's state
-- gets "V" (stale: nothing was done, decide again). Otherwise each item gets, in order, its seq or its denial.
--
-- Numbers: seq counts up by one. When the server's run_id is not the one that gave the last seq (restart, crash,
-- promotion: writes may have been lost) or nothing is known, it goes on at max(last + 1, TIME in ms * 1000), below 2^53.
-- prev is the log's true previous entry.
--
-- KEYS  1 head  2 log  3 batches  4 last            (clue/keys.py)
-- ARGV  1 now, UNIX ms (the caller's clock)
--       2 log bound, entries (the stream is cut in whole nodes: up to about 100 more stay)
--       3 time to live of log and batches, s
--       4 number of groups, then for each group:
--           edge run, batch, version, number of items, then for each item one of
--             "-", denial                            denied already: "msg-id" or "msg-id:number"
--             "+", publication, "", "", ""           accepted, exempt from what follows
--             "+", publication, user id, floor in ms, text hash
--               floor: least time since the user's last delivered message here; over 1,000 it is slow mode
--               text hash: not the one of the last delivered message, when that is less than 30 s old
-- Returns { prev of the first entry appended, for each group its results }, results being
--   "N r r ..." (committed now), "R r r ..." (a repeat: as committed then), "S" or "V"; r is "<seq>" or "-<denial>".
--   Entries appended by one call have consecutive numbers, each the next one's prev.

local head_key, log_key, batches_key, last_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, log_bound, ttl, group_count = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now_text = ARGV[1]

local DUPLICATE_MS = 30000      -- tmi_protocol section 7
local LAST_KEEP_MS = 120000     -- the longest slow mode
local LAST_BOUND = 1000         -- users remembered before the old ones are looked for
local BATCH_KEEP_MS = 600000    -- far above the time an edge retries (5.5 s)

local head = redis.call('HMGET', head_key, 'seq', 'run', 'version')
local version = head[3] or '0'
local seq, first_prev = nil, nil
local appended = false

local function text_of(number)
  return string.format('%.0f', number)
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
  local time = redis.call('TIME')
  local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  seq = math.max(last, ms * 1000 - 1)
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

local function decide(publication, user, floor, hash)
  if user ~= '' then
    local denial = hindrance(user, tonumber(floor), hash)
    if denial then
      return denial
    end
    redis.call('HSET', last_key, user, now_text .. ' ' .. hash)
  end
  return append(publication)
end

local results = {}
local at = 5
for group = 1, group_count do
  local edge_run, batch, group_version, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  at = at + 4
  local stored = redis.call('HGET', batches_key, edge_run)
  local stored_batch, stored_results
  if stored then
    stored_batch, stored_results = string.match(stored, '^(%d+) %d+(.*)$')
  end
  local result
  if stored_batch == batch then
    result = 'R' .. stored_results
  elseif stored_batch and tonumber(stored_batch) > tonumber(batch) then
    result = 'S'
  elseif group_version ~= version then
    result = 'V'
  end
  if result then
    for _ = 1, count do
      at = at + (ARGV[at] == '-' and 2 or 5)
    end
  else
    local texts = {}
    for item = 1, count do
      if ARGV[at] == '-' then
        texts[item] = ' -' .. ARGV[at + 1]
        at = at + 2
      else
        texts[item] = ' ' .. decide(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
        at = at + 5
      end
    end
    local joined = table.concat(texts)
    result = 'N' .. joined
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
  end
  results[group] = result
end

redis.call('EXPIRE', batches_key, ttl)
if appended then
  redis.call('HSET', head_key, 'seq', text_of(seq))
  redis.call('EXPIRE', log_key, ttl)
  -- A version is never forgotten: it would come back as "0", which an old decision may have been made on.
  if version == '0' then
    redis.call('EXPIRE', head_key, ttl)
  end
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

return { first_prev or '0', unpack(results) }
