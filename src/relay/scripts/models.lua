-- What a front asks once a second: the models that its server offers.
-- → for each model: its name, how many answers wait for a worker, how many workers it has, what describes it ('' if nobody has
-- said)
local t, out = now(), {}
for _, model in ipairs(redis.call('SMEMBERS', P .. 'models')) do
    local waiting, workers, said = redis.pcall('ZCARD', P .. 'q:' .. model),
        redis.pcall('ZCOUNT', P .. 'wk:' .. model, t, '+inf'), redis.pcall('GET', P .. 'md:' .. model)
    -- (If another program has changed a model's keys, only that model is left out.)
    if type(waiting) == 'number' and type(workers) == 'number' and type(said) ~= 'table' then
        out[#out + 1] = model
        out[#out + 1] = waiting
        out[#out + 1] = workers
        out[#out + 1] = said or ''
    end
end
return out
