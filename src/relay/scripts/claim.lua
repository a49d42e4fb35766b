-- ARGV: session, n, the most answers to take, ttl, then the models
-- → {'ok', {id, model, request, digest, key, idempotency name, hash of the body, linger, {frames…}}…}; {'gone'}; {'want'}
-- An answer whose last worker died before it wrote a frame is computed alone, so that it takes no others along if it is the
-- reason. A session with other answers that comes to it first takes none of its model until it has it, so that it does not
-- wait for ever where all workers are busy; the others go past it. Text is gone on with where the model has the digest of its
-- beginning; if nobody has it, the answer fails (but not while the leases of those who have it may seem to be over).
local S, n, free, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local ses, own = P .. 'ses:' .. S, P .. 'own:' .. S
local why = fence(S, n)
local took = {'ok'} -- the reply: there may be more than Lua can unpack
local function take(id)
    local m = redis.call('HMGET', P .. 'm:' .. id, 'model', 'request', 'digest', 'key', 'idempotency', 'body', 'linger')
    took[#took + 1] = {id, m[1], m[2], m[3] or '', m[4], m[5] or '', m[6], m[7], frames(id, 0)}
end
if why == 'done' then
    -- Its own again: the reply was lost.
    for id in string.gmatch(redis.call('HGET', ses, 'took'), '%S+') do
        if redis.call('SISMEMBER', own, id) == 1 and is_there(id) then
            take(id)
        end
    end
    return took
elseif why then
    return {why}
end
local t, names = now(), {}
local looked = could_look(t)
-- Whether this session is to keep itself free for an answer: it is idle but for that, or the first to come to it.
local function is_kept_for(id, by)
    if by ~= S and by and redis.call('EXISTS', P .. 'ses:' .. by) == 1 then
        return false
    end
    redis.call('HSET', P .. 'm:' .. id, 'by', S)
    return true
end
for i = 5, #ARGV do
    local model, skipped = ARGV[i], 0
    local q, mine = P .. 'q:' .. model, redis.call('HGET', ses, 'd:' .. model) or '-'
    while free > 0 and not redis.call('HGET', ses, 'alone') do
        local id = redis.call('ZRANGE', q, skipped, skipped)[1]
        if not id then
            break
        end
        local here = is_there(id)
        local m = redis.call('HMGET', P .. 'm:' .. id, 'state', 'cancel', 'seen', 'linger', 'idle', 'by', 'digest')
        local alone, text = tonumber(m[5] or 0) > 0, count(id) > 1
        if not here or m[1] ~= 'queued' then
            redis.call('ZREM', q, id)
        elseif m[2] or (looked and t - tonumber(m[3]) > tonumber(m[4])) then
            redis.call('ZREM', q, id)
            finish(id, 'cancelled', 0, '', ttl)
        elseif text and m[7] ~= mine and (not looked or is_able(model, m[7] or '-', S, t)) then
            skipped = skipped + 1
            if skipped == 8 then
                break
            end
        elseif text and m[7] ~= mine then
            redis.call('ZREM', q, id)
            finish(id, 'failed', 'DIGEST', 'no worker has the model that the answer was begun with', ttl)
        elseif alone and redis.call('SCARD', own) > 0 then
            if skipped == 8 or is_kept_for(id, m[6]) then
                break
            end
            skipped = skipped + 1
        else
            -- (First: if own has another type, the answer stays where it is.)
            redis.call('SADD', own, id)
            redis.call('ZREM', q, id)
            redis.call('HSET', P .. 'm:' .. id, 'state', 'running', 'session', S)
            redis.call('HDEL', P .. 'm:' .. id, 'by')
            if not text then
                redis.call('HSET', P .. 'm:' .. id, 'digest', mine)
            end
            redis.call('HINCRBY', P .. 'm:' .. id, 'attempts', 1)
            redis.call('HINCRBY', P .. 'm:' .. id, 'idle', 1)
            if alone then
                redis.call('HSET', ses, 'alone', id)
            end
            names[#names + 1] = id
            take(id)
            free = free - 1
        end
    end
end
redis.call('HSET', ses, 'took', table.concat(names, ' '))
return took
