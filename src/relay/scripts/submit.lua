-- ARGV: front, id, model, request, frame 0 (with its hash), key, idempotency name or '', hash of the body, bound of the
-- queue, linger (how long the answer lives without a front that shows it)
-- → {'ok'} or {'there'} (a repeated command); {'other', id} (this idempotency name is that of an answer); {'conflict'} (of
-- another body); {'absent'} (nobody computes the model); {'full'}
local F, id, model, request, begin, key, name, body, bound, linger = unpack(ARGV)
local m, t = P .. 'm:' .. id, now()
if is_there(id) then
    return {'there'}
end
if name ~= '' then
    local other = redis.call('GET', P .. 'i:' .. name)
    local found = other and redis.call('HGET', P .. 'm:' .. other, 'body')
    if found then
        return found == body and {'other', other} or {'conflict'}
    end
end
if redis.call('ZCOUNT', P .. 'wk:' .. model, t, '+inf') == 0 then
    return {'absent'}
elseif redis.call('ZCARD', P .. 'q:' .. model) >= tonumber(bound) then
    return {'full'}
end
local number = redis.call('INCR', P .. 'n')
redis.call('HSET', m, 'state', 'queued', 'model', model, 'request', request, 'key', key, 'body', body, 'number', number,
    'attempts', 0, 'idle', 0, 'seen', t, 'linger', linger, 'created', t)
if name ~= '' then
    redis.call('HSET', m, 'idempotency', name)
    redis.call('SET', P .. 'i:' .. name, id)
end
redis.call('XADD', P .. 's:' .. id, '1-0', 'f', begin)
show(id, F)
redis.call('ZADD', P .. 'q:' .. model, number, id)
redis.call('PUBLISH', P .. 'c:' .. model, id)
return {'ok'}
