-- SPDX-License-Identifier: MIT
--
-- What stands in front of every script. KEYS[1] is the prefix of all keys, such as "{burble}:"; the first
-- arguments are named in each script. Times are milliseconds of Redis's own clock.
--
--     q:<model>    ZSET  ids of answers that wait → their number; the lowest goes first
--     n            the last such number
--     w            ZSET  session of a worker → end of its lease
--     lapsed       ZSET  session whose lease was over → when that was first seen
--     beat         when reap last ran, and since when it has done so without a gap
--     wk:<model>   ZSET  session that computes the model → end of its lease
--     models       SET   names of the models that sessions have registered
--     md:<model>   what the last session that registered it said: JSON
--     ses:<S>      HASH  n, the number of its last command; worker; models; took, the ids of its last claim; alone, the id that
--                        keeps it from claiming others; d:<model>, the digest of a model, '-': none
--     own:<S>      SET   ids of the answers that the session computes: those whose `session` it is
--     ctl:<S>      LIST  what the session is told: "cancel <id>"
--     m:<id>       HASH  of an answer: state, model, request, key, number, session, attempts, idle, digest, seen, linger …
--     i:<name>     id of the answer of an idempotency key
--     fr:<id>      fronts that show the answer: their names one after another, 32 characters each
--     s:<id>       STREAM  frame k has the id <k+1>-0 and one field, f: 4 bytes of its hash, then its bytes
--     c:<F>        channel of a front; c:<model> is the doorbell of the workers of a model
local P = KEYS[1]

local function now()
    local t = redis.call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Whether fronts have had the time to say which answers they show: if Redis has stood still, was away, or its clock was
-- set to another time, what they said before seems to be old.
local LOOKS = 5000
local function read_beat(t)
    local last, since = string.match(redis.call('MGET', P .. 'beat')[1] or '', '^(%d+) (%d+)$')
    return last and math.abs(t - last) <= LOOKS and tonumber(since)
end
local function could_look(t)
    local since = read_beat(t)
    return since and t - since >= LOOKS
end

-- The next command of a session: it is done once, and the commands of a session that was fenced are not done at all.
-- Returns nil, or why it is not done: 'gone'; 'done'; 'want', if commands before it are missing, since Redis lost them.
-- The number is written before anything else: if there is no memory, nothing is done.
local function fence(S, n)
    local last = redis.call('HGET', P .. 'ses:' .. S, 'n')
    if not last then
        return 'gone'
    elseif n <= tonumber(last) then
        return 'done'
    elseif n > tonumber(last) + 1 then
        return 'want'
    end
    redis.call('HSET', P .. 'ses:' .. S, 'n', n)
    return nil
end

-- How many frames the log has.
-- Its last frame is the second result.
local function count(id)
    local last = redis.call('XREVRANGE', P .. 's:' .. id, '+', '-', 'COUNT', 1)[1]
    return last and tonumber(string.match(last[1], '^%d+')) or 0, last and last[2][2]
end

-- Whether there is such an answer. If a part of it is missing, or if its keys have other types or fields than burble writes, it
-- is deleted, as if Redis had lost it, so that it disturbs no other answer.
-- The other results are its state, and those of count.
local STATES = {queued = true, running = true, ended = true, failed = true, cancelled = true}
local function is_whole(id)
    local m = redis.call('HMGET', P .. 'm:' .. id, 'state', 'model', 'key', 'number', 'attempts', 'idle', 'seen', 'linger')
    redis.call('STRLEN', P .. 'fr:' .. id)
    local whole = #id == 32 and STATES[m[1]] and m[2] and m[3]
    for i = 4, 8 do
        whole = whole and tonumber(m[i])
    end
    local n, last = count(id)
    return whole and redis.call('XLEN', P .. 's:' .. id) == n, m[1], n, last
end
local function is_there(id)
    local read, whole, state, n, last = pcall(is_whole, id)
    if read and whole then
        return true, state, n, last
    end
    -- (Without memory, Redis refuses a script only at its first write, which must not be a DEL of nothing.)
    if redis.call('EXISTS', P .. 'm:' .. id, P .. 's:' .. id, P .. 'fr:' .. id) > 0 then
        redis.call('DEL', P .. 'm:' .. id, P .. 's:' .. id, P .. 'fr:' .. id)
    end
    return false
end

-- The frames from number k on, at most n; all of them without n.
local function frames(id, k, n)
    local from, out, found = string.format('%d-0', k + 1), {}, nil
    if n then
        found = redis.call('XRANGE', P .. 's:' .. id, from, '+', 'COUNT', n)
    else
        found = redis.call('XRANGE', P .. 's:' .. id, from, '+')
    end
    for i, entry in ipairs(found) do
        out[i] = entry[2][2]
    end
    return out
end

-- The fronts that show an answer: their names one after another. (MGET takes a key of another type for none.)
local function each_front(names)
    return string.gmatch(names or '', string.rep('.', 32))
end
local function fronts(id)
    return redis.call('MGET', P .. 'fr:' .. id)[1]
end
local function show(id, F)
    for other in each_front(fronts(id)) do
        if other == F then
            return
        end
    end
    redis.call('APPEND', P .. 'fr:' .. id, F)
end
local function hide(id, F)
    local left, names = {}, fronts(id)
    for other in each_front(names) do
        left[#left + 1] = other ~= F and other or nil
    end
    if names and #left == 0 then
        redis.call('DEL', P .. 'fr:' .. id)
    elseif names then
        redis.call('SET', P .. 'fr:' .. id, table.concat(left), 'KEEPTTL')
    end
end

-- A message to fronts is one or more records: the id of an answer; the id of an entry of its log, after its length; the value
-- of that entry, after its length. '0-0' is no entry: its value is how the answer has ended.
local RECORD = '<c32Bc0I4c0'

-- Tells the fronts that show the answer how it has ended. A front that does not listen attaches again once it does.
local function tell(id, value)
    local message = struct.pack(RECORD, id, 3, '0-0', #value, value)
    for F in each_front(fronts(id)) do
        if redis.call('PUBLISH', P .. 'c:' .. F, message) == 0 then
            hide(id, F)
        end
    end
end

-- The answer is over: it is kept for `ttl`, counted from now.
local function finish(id, state, code, message, ttl)
    local m = P .. 'm:' .. id
    redis.call('HSET', m, 'state', state, 'code', code, 'message', message)
    redis.call('HDEL', m, 'session', 'request')
    local name = redis.call('HGET', m, 'idempotency')
    for _, key in ipairs({m, P .. 's:' .. id, P .. 'fr:' .. id}) do
        redis.call('PEXPIRE', key, ttl)
    end
    if name then
        redis.call('PEXPIRE', P .. 'i:' .. name, ttl)
    end
    tell(id, state .. ' ' .. code .. ' ' .. count(id) .. ' ' .. message)
end

-- Back into the queue, in its old place; but an answer that is to be cancelled ends.
local function requeue(id, model, ttl)
    if redis.call('HGET', P .. 'm:' .. id, 'cancel') then
        return finish(id, 'cancelled', 0, '', ttl)
    end
    redis.call('HSET', P .. 'm:' .. id, 'state', 'queued')
    redis.call('HDEL', P .. 'm:' .. id, 'session')
    redis.call('ZADD', P .. 'q:' .. model, redis.call('HGET', P .. 'm:' .. id, 'number'), id)
    redis.call('PUBLISH', P .. 'c:' .. model, id)
end

-- The session is there until now + lease. A mark of an earlier lapse is void, so that reap needs two passes for the next one.
local function renew(S, lease, t)
    redis.call('ZADD', P .. 'w', t + lease, S)
    redis.call('ZREM', P .. 'lapsed', S)
    for model in string.gmatch(redis.call('HGET', P .. 'ses:' .. S, 'models'), '[^\n]+') do
        redis.call('ZADD', P .. 'wk:' .. model, t + lease, S)
    end
end

-- Whether a live session other than `except` computes the model, and can go on with text of this digest ('': there is none
-- yet).
local function is_able(model, digest, except, t)
    for _, S in ipairs(redis.call('ZRANGEBYSCORE', P .. 'wk:' .. model, t, '+inf')) do
        if S ~= except and (digest == '' or redis.call('HGET', P .. 'ses:' .. S, 'd:' .. model) == digest) then
            return true
        end
    end
    return false
end

local function forget(S)
    for model in string.gmatch(redis.call('HGET', P .. 'ses:' .. S, 'models') or '', '[^\n]+') do
        redis.call('ZREM', P .. 'wk:' .. model, S)
    end
    redis.call('DEL', P .. 'ses:' .. S, P .. 'ctl:' .. S, P .. 'own:' .. S)
    redis.call('ZREM', P .. 'w', S)
    redis.call('ZREM', P .. 'lapsed', S)
end
