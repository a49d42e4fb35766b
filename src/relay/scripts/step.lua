-- ARGV: session, n, lease (0: it is not renewed), how many entries of ctl were done, ttl, then any number of
--     'n', id                        its frames are the first ones of an attempt
--     'd', id, digest                in place of that of the model; '-': another worker cannot go on with its text
--     'e', id, state, code, message  its end, after its frames
--     'h', id                        back into the queue, if another worker can go on with it; otherwise ctl says 'keep <id>'
--     'r', id                        back into the queue
--     'q'                            the session takes no more answers
-- and last the frames, as the records of one message
-- → {'ok', {refused ids}, ctl…}; {'done', {}, ctl…}; {'gone'}; {'want'}
-- Refused is the id of an answer that is not this session's any more.
-- What is done here for each frame is most of what a token costs Redis: docs/relay-performance.md.
local S, n, lease, consumed, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local ctl, own = P .. 'ctl:' .. S, P .. 'own:' .. S
local why = fence(S, n)
if why == 'done' then
    return {'done', {}, unpack(redis.call('LRANGE', ctl, 0, 999))}
elseif why then
    return {why}
end
if lease > 0 then
    renew(S, lease, now())
end
if consumed > 0 then
    redis.call('LTRIM', ctl, consumed, -1)
end
-- Frame k is of the answer ids[k], and its record ends before ends[k].
local records, first, last = ARGV[#ARGV], 6, #ARGV - 1
local ids, entries, values, ends, n_frames, at = {}, {}, {}, {}, 0, 1
local asked, keys, n_asked = {}, {}, 0
local read, size, before, log, shown_by = struct.unpack, #records, nil, P .. 's:', P .. 'fr:'
while at <= size do
    local id, entry, value
    id, entry, value, at = read(RECORD, records, at)
    n_frames = n_frames + 1
    ids[n_frames], entries[n_frames], values[n_frames], ends[n_frames] = id, entry, value, at
    if id ~= before then
        n_asked = n_asked + 1
        asked[n_asked], keys[n_asked], before = id, shown_by .. id, id
    end
end
-- An answer that Redis has lost is refused, too. (For frames, the length of its log shows that.)
local there, sizes, i = {}, {n = 2, d = 3, q = 1, e = 5, h = 2, r = 2}, first
while i <= last do
    local what, id = ARGV[i], ARGV[i + 1]
    if what ~= 'q' then
        n_asked = n_asked + 1
        asked[n_asked], keys[n_asked] = id, shown_by .. id
    end
    if what ~= 'q' and what ~= 'n' and there[id] == nil then
        there[id] = is_there(id)
    end
    i = i + sizes[what]
end
-- Which of its answers are this session's, and which fronts show them: one question each for all.
local owned, shown = {}, {}
if n_asked > 0 then
    owned, shown = redis.call('SMISMEMBER', own, unpack(asked)), redis.call('MGET', unpack(keys))
end
local refused, is_refused = {}, {}
local function refuse(id)
    if not is_refused[id] then
        is_refused[id] = true
        refused[#refused + 1] = id
    end
end
for j = 1, n_asked do
    if owned[j] == 0 or there[asked[j]] == false then
        refuse(asked[j])
    end
end
-- `messages` has, for the names of fronts, the parts of the records that these fronts get: often, all of them are one part.
local messages = {}
local function add_part(names, from, to)
    if names and from < to then
        local parts = messages[names] or {}
        messages[names] = parts
        parts[#parts + 1] = from == 1 and to > size and records or string.sub(records, from, to - 1)
    end
end
local add, of_type = redis.pcall, type
local id, key, mine, names, from, j = nil, nil, false, false, 1, 0
at = 1
for k = 1, n_frames do
    if ids[k] ~= id then
        id, j = ids[k], j + 1
        key, mine = log .. id, not is_refused[id]
        local by = mine and shown[j]
        if by ~= names then
            add_part(names, from, at)
            names, from = by, at
        end
    end
    -- Nil, if Redis has lost the log; an error, if it has another one.
    if mine and of_type(add('XADD', key, 'NOMKSTREAM', entries[k], 'f', values[k])) ~= 'string' then
        refuse(id)
        add_part(names, from, at)
        mine, names = false, false
    end
    at = ends[k]
end
add_part(names, from, at)
for names, parts in pairs(messages) do
    local message = #parts == 1 and parts[1] or table.concat(parts)
    for F in each_front(names) do
        redis.call('PUBLISH', P .. 'c:' .. F, message)
    end
end
local function leave(id)
    redis.call('SREM', own, id)
    if redis.call('HGET', P .. 'ses:' .. S, 'alone') == id then
        redis.call('HDEL', P .. 'ses:' .. S, 'alone')
    end
    is_refused[id] = true
end
local function can_leave(id)
    local m = redis.call('HMGET', P .. 'm:' .. id, 'model', 'digest', 'cancel')
    return m[3] or not m[1] or is_able(m[1], count(id) > 1 and m[2] or '', S, now())
end
i = first
while i <= last do
    local what, id = ARGV[i], ARGV[i + 1]
    if what == 'q' then
        for model in string.gmatch(redis.call('HGET', P .. 'ses:' .. S, 'models'), '[^\n]+') do
            redis.call('ZREM', P .. 'wk:' .. model, S)
        end
        redis.call('HSET', P .. 'ses:' .. S, 'models', '')
    elseif is_refused[id] then
        -- (Nothing of it is done.)
    elseif what == 'n' then
        redis.pcall('HSET', P .. 'm:' .. id, 'idle', 0)
    elseif what == 'd' then
        redis.call('HSET', P .. 'm:' .. id, 'digest', ARGV[i + 2])
    elseif what == 'e' then
        leave(id)
        finish(id, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ttl)
    elseif what == 'h' and not can_leave(id) then
        redis.call('RPUSH', ctl, 'keep ' .. id)
    else
        leave(id)
        -- A worker that hands it on does not count as one that died.
        redis.call('HINCRBY', P .. 'm:' .. id, 'attempts', -1)
        redis.call('HSET', P .. 'm:' .. id, 'idle', 0)
        requeue(id, redis.call('HGET', P .. 'm:' .. id, 'model'), ttl)
    end
    i = i + sizes[what]
end
return {'ok', refused, unpack(redis.call('LRANGE', ctl, 0, 999))}
