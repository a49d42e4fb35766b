-- ARGV: session, worker's name, lease, the sessions that this process had before, with spaces between, then for each model its
-- name and a string that describes it: JSON, of which `digest` is read here
-- → {'ok', ids…}: of the answers that the former sessions had, which are this one's now: adopt those that the process
-- holds, put the others back into the queue by a step
-- A repeated command changes nothing.
local S, worker, lease, before = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if redis.call('EXISTS', P .. 'ses:' .. S) == 0 then
    redis.call('ZADD', P .. 'w', now() + lease, S)
    local names = {}
    for i = 5, #ARGV, 2 do
        names[#names + 1] = ARGV[i]
        redis.call('SADD', P .. 'models', ARGV[i])
        redis.call('SET', P .. 'md:' .. ARGV[i], ARGV[i + 1])
    end
    for i = 5, #ARGV, 2 do
        local well, said = pcall(cjson.decode, ARGV[i + 1])
        local digest = well and type(said) == 'table' and type(said.digest) == 'string' and said.digest
        redis.call('HSET', P .. 'ses:' .. S, 'd:' .. ARGV[i], digest or '-')
    end
    redis.call('HSET', P .. 'ses:' .. S, 'n', 0, 'worker', worker, 'models', table.concat(names, '\n'), 'took', '')
    renew(S, lease, now())
    -- After Redis has lost its tail, any of them may be there, and even have answers that it has ended since.
    for former in string.gmatch(before, '%S+') do
        if redis.call('EXISTS', P .. 'ses:' .. former) == 1 then
            for _, id in ipairs(redis.call('SMEMBERS', P .. 'own:' .. former)) do
                -- (Without its m, it would be one that nothing ever removes.)
                if is_there(id) then
                    redis.call('SADD', P .. 'own:' .. S, id)
                    redis.call('HSET', P .. 'm:' .. id, 'session', S)
                end
            end
            forget(former)
        end
    end
end
-- (There may be more than Lua can unpack.)
local own = redis.call('SMEMBERS', P .. 'own:' .. S)
table.insert(own, 1, 'ok')
return own
