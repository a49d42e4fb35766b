-- After Redis has lost its tail, or the session was fenced: a session goes on with an answer that it holds.
-- ARGV: session, n, id, model, request, digest, key, idempotency name or '', hash of the body, linger, ttl, the hashes of all its
-- frames, 4 bytes each, then all its frames (each with its hash)
-- → {'ok', k} (write the frames from k on by steps); {'gone'}; {'want'}; {'dropped', why}: 'owned', by a live session; 'over';
-- 'diverged'
local S, n, id, model, request, digest, key, name, body, linger, ttl, hashes = unpack(ARGV, 1, 12)
local m, t = P .. 'm:' .. id, now()
local why = fence(S, tonumber(n))
if why == 'gone' or why == 'want' then
    return {why}
end
local is_here = is_there(id)
local found = redis.call('HMGET', m, 'state', 'session', 'cancel')
if why == 'done' then
    -- The reply was lost. Without the number, a late copy of the command would take back what a step has handed on since.
    if found[2] == S then
        return {'ok', (count(id))}
    end
    return {'dropped', (found[1] == 'queued' or found[1] == 'running') and 'owned' or 'over'}
elseif found[2] and found[2] ~= S and redis.call('EXISTS', P .. 'ses:' .. found[2]) == 1 then
    return {'dropped', 'owned'}
elseif found[1] and found[1] ~= 'queued' and found[1] ~= 'running' then
    return {'dropped', 'over'}
end
local k, last = count(id)
if is_here and k > 0 then
    if k > #hashes / 4 or string.sub(last, 1, 4) ~= string.sub(hashes, 4 * k - 3, 4 * k) then
        if found[2] == S then
            redis.call('SREM', P .. 'own:' .. S, id)
            requeue(id, model, ttl)
        end
        return {'dropped', 'diverged'}
    end
    redis.call('HSET', m, 'state', 'running', 'digest', digest)
else
    local number = redis.call('INCR', P .. 'n')
    redis.call('DEL', P .. 's:' .. id)
    for i = 13, #ARGV do
        redis.call('XADD', P .. 's:' .. id, string.format('%d-0', i - 12), 'f', ARGV[i])
    end
    k = #ARGV - 12
    redis.call('HSET', m, 'state', 'running', 'model', model, 'request', request, 'key', key, 'body', body, 'number', number,
        'attempts', 1, 'idle', 0, 'seen', t, 'linger', linger, 'created', t, 'digest', digest)
    if name ~= '' then
        redis.call('HSET', m, 'idempotency', name)
        redis.call('SET', P .. 'i:' .. name, id, 'NX')
    end
end
redis.call('ZREM', P .. 'q:' .. model, id)
redis.call('HSET', m, 'session', S)
redis.call('SADD', P .. 'own:' .. S, id)
if found[3] then
    redis.call('RPUSH', P .. 'ctl:' .. S, 'cancel ' .. id)
end
return {'ok', k}
