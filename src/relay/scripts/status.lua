-- For a person: → {sessions: {S, worker, models, lease in ms, answers, commands so far}…},
-- {models: {name, waiting, workers, description}…}
local t, sessions, models = now(), {}, {}
for _, S in ipairs(redis.call('ZRANGE', P .. 'w', 0, -1)) do
    local s = redis.call('HMGET', P .. 'ses:' .. S, 'worker', 'models', 'n')
    sessions[#sessions + 1] = {S, s[1] or '', s[2] or '', redis.call('ZSCORE', P .. 'w', S) - t, redis.call('SCARD', P .. 'own:' .. S),
        tonumber(s[3] or 0)}
end
local names = redis.call('SMEMBERS', P .. 'models')
table.sort(names)
for _, model in ipairs(names) do
    models[#models + 1] = {model, redis.call('ZCARD', P .. 'q:' .. model), redis.call('ZCOUNT', P .. 'wk:' .. model, t, '+inf'),
        redis.call('GET', P .. 'md:' .. model) or ''}
end
return {sessions, models}
