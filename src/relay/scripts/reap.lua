-- Fences the sessions whose lease was over, in two passes: Redis itself may have been frozen, or have restarted, so that
-- every lease is over when it goes on. Fronts call it, too: the only worker may be the one that died.
-- ARGV: most attempts without a new frame, most attempts, ttl, ms between the passes (more than a worker takes to connect
-- again), session of the caller or ''
-- → {how many sessions were fenced, how many answers went back into the queue, how many failed}
-- The answers of the caller that no front shows any more are to be cancelled.
local idle, attempts, ttl, pause, mine = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
local t, fenced, back, failed = now(), 0, 0, 0
-- (Without memory, nothing that follows can be done either.)
redis.pcall('SET', P .. 'beat', string.format('%d %d', t, read_beat(t) or t))
local function give_back(id)
    if not is_there(id) then
        return
    end
    local m = redis.call('HMGET', P .. 'm:' .. id, 'model', 'cancel', 'idle', 'attempts', 'digest')
    if not m[2] and (tonumber(m[3]) >= idle or tonumber(m[4]) >= attempts) then
        finish(id, 'failed', 'EXHAUSTED', '', ttl)
        failed = failed + 1
    elseif not m[2] and m[5] == '-' and count(id) > 1 then
        finish(id, 'failed', 'WORKER', '', ttl)
        failed = failed + 1
    else
        requeue(id, m[1], ttl)
        back = back + 1
    end
end
for _, S in ipairs(redis.call('ZRANGEBYSCORE', P .. 'w', '-inf', '(' .. t)) do
    local seen = tonumber(redis.call('ZSCORE', P .. 'lapsed', S) or 0)
    -- A mark from long ago is one that Redis had before it was away.
    if t - seen > 3 * pause then
        redis.call('ZADD', P .. 'lapsed', t, S)
    elseif t - seen >= pause then
        local own = redis.call('SMEMBERS', P .. 'own:' .. S)
        forget(S)
        fenced = fenced + 1
        for _, id in ipairs(own) do
            give_back(id)
        end
    end
end
if mine ~= '' and redis.call('EXISTS', P .. 'ses:' .. mine) == 1 then
    local looked = could_look(t)
    for _, id in ipairs(redis.call('SMEMBERS', P .. 'own:' .. mine)) do
        -- (Each answer, once a second: so only one that seems to be left is examined closely.)
        local m = redis.pcall('HMGET', P .. 'm:' .. id, 'seen', 'linger')
        local seen, linger = tonumber(m[1]), tonumber(m[2])
        if not (seen and linger and (t - seen <= linger or not looked)) and is_there(id)
            and redis.call('HSET', P .. 'm:' .. id, 'cancel', 1) == 1 then
            redis.call('RPUSH', P .. 'ctl:' .. mine, 'cancel ' .. id)
        end
    end
end
return {fenced, back, failed}
