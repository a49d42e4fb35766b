-- ARGV: session, n, lease (0: it is not renewed), how many entries of ctl were done, ttl, then any number of
--     'f', id, k, new, value…, ''    frames from number k on (no value is empty); new is 1 with the first frames of an attempt
--     'd', id, digest                in place of that of the model; '-': another worker cannot go on with its text
--     'e', id, state, code, message  its end; its frames stand before
--     'h', id                        back into the queue, if another worker can go on with it; otherwise ctl says 'keep <id>'
--     'r', id                        back into the queue
--     'q'                            the session takes no more answers
-- → {'ok', {refused ids}, ctl…}; {'done', {}, ctl…}; {'gone'}; {'want'}
-- Refused is the id of an answer that is not this session's any more.
local S, n, lease, consumed, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local ctl, own = P .. 'ctl:' .. S, P .. 'own:' .. S
local why = fence(S, n)
if why == 'done' then
    return {'done', {}, unpack(redis.call('LRANGE', ctl, 0, 999))}
elseif why then
    return {why}
end
local t = now()
if lease > 0 then
    renew(S, lease, t)
end
if consumed > 0 then
    redis.call('LTRIM', ctl, consumed, -1)
end
-- Which of its answers are this session's, and which fronts show them: one question each for all.
-- `messages` has one message for all answers that the same fronts show, by these fronts' names.
-- An answer that Redis has lost is refused, too. (For frames, the length of its log shows that.)
local refused, messages, mine, there, shown, ids, i = {}, {}, {}, {}, {}, {}, 6
local lengths = {d = 3, q = 1, e = 5, h = 2, r = 2}
while i <= #ARGV do
    local what = ARGV[i]
    if what ~= 'q' and mine[ARGV[i + 1]] == nil then
        mine[ARGV[i + 1]] = false
        ids[#ids + 1] = ARGV[i + 1]
    end
    if what == 'f' then
        i = i + 4
        while ARGV[i] ~= '' do
            i = i + 1
        end
        i = i + 1
    else
        if what ~= 'q' and there[ARGV[i + 1]] == nil then
            there[ARGV[i + 1]] = is_there(ARGV[i + 1])
        end
        i = i + lengths[what]
    end
end
local names = #ids > 0 and fronts(unpack(ids)) or {}
for j, is in ipairs(#ids > 0 and redis.call('SMISMEMBER', own, unpack(ids)) or {}) do
    shown[ids[j]] = names[j]
    mine[ids[j]] = is == 1 and there[ids[j]] ~= false
    if not mine[ids[j]] then
        refused[#refused + 1] = ids[j]
    end
end
i = 6
local function leave(id)
    redis.call('SREM', own, id)
    if redis.call('HGET', P .. 'ses:' .. S, 'alone') == id then
        redis.call('HDEL', P .. 'ses:' .. S, 'alone')
    end
    mine[id] = false
end
local function can_leave(id)
    local m = redis.call('HMGET', P .. 'm:' .. id, 'model', 'digest', 'cancel')
    return m[3] or not m[1] or is_able(m[1], count(id) > 1 and m[2] or '', S, t)
end
local function send()
    for names, list in pairs(messages) do
        local message = table.concat(list)
        for F in each_front(names) do
            redis.call('PUBLISH', P .. 'c:' .. F, message)
        end
        messages[names] = nil
    end
end
while i <= #ARGV do
    local what, id = ARGV[i], ARGV[i + 1]
    if what == 'f' then
        local k, key, accepted = tonumber(ARGV[i + 2]), P .. 's:' .. id, mine[id]
        if accepted and ARGV[i + 3] == '1' then
            redis.pcall('HSET', P .. 'm:' .. id, 'idle', 0)
        end
        local names, list = accepted and shown[id], nil
        if names then
            list = messages[names] or {}
            messages[names] = list
        end
        i = i + 4
        while ARGV[i] ~= '' do
            local value = ARGV[i]
            -- Nil, if Redis has lost the log; an error, if it has another one.
            if accepted
                and type(redis.pcall('XADD', key, 'NOMKSTREAM', string.format('%d-0', k + 1), 'f', value)) ~= 'string' then
                accepted, list = false, nil
                refused[#refused + 1] = id
                mine[id] = false
            elseif list then
                local n = #list
                list[n + 1], list[n + 2], list[n + 3] = id, struct.pack('<I4I4', k, #value), value
            end
            k = k + 1
            i = i + 1
        end
        i = i + 1
    elseif what == 'd' then
        if mine[id] then
            redis.call('HSET', P .. 'm:' .. id, 'digest', ARGV[i + 2])
        end
        i = i + 3
    elseif what == 'q' then
        for model in string.gmatch(redis.call('HGET', P .. 'ses:' .. S, 'models'), '[^\n]+') do
            redis.call('ZREM', P .. 'wk:' .. model, S)
        end
        redis.call('HSET', P .. 'ses:' .. S, 'models', '')
        i = i + 1
    elseif what == 'e' then
        if mine[id] then
            leave(id)
            send()
            finish(id, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ttl)
        end
        i = i + 5
    else
        if mine[id] and what == 'h' and not can_leave(id) then
            redis.call('RPUSH', ctl, 'keep ' .. id)
        elseif mine[id] then
            leave(id)
            send()
            -- A worker that hands it on does not count as one that died.
            redis.call('HINCRBY', P .. 'm:' .. id, 'attempts', -1)
            redis.call('HSET', P .. 'm:' .. id, 'idle', 0)
            requeue(id, redis.call('HGET', P .. 'm:' .. id, 'model'), ttl)
        end
        i = i + 2
    end
end
send()
return {'ok', refused, unpack(redis.call('LRANGE', ctl, 0, 999))}
