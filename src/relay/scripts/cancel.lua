-- ARGV: id, ttl
-- → 'ok'; 'none'
local id = ARGV[1]
local m = is_there(id) and redis.call('HMGET', P .. 'm:' .. id, 'state', 'model', 'session') or {}
if m[1] == 'queued' then
    redis.call('ZREM', P .. 'q:' .. m[2], id)
    finish(id, 'cancelled', 0, '', ARGV[2])
elseif m[1] == 'running' then
    -- One writer: the worker may end it first.
    -- The flag stays where the session's list is lost with the session: adopt, requeue and claim look at it.
    if redis.call('HSET', P .. 'm:' .. id, 'cancel', 1) == 1 and m[3] then
        redis.call('RPUSH', P .. 'ctl:' .. m[3], 'cancel ' .. id)
    end
else
    return 'none'
end
return 'ok'
