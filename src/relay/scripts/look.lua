-- What a front asks once a second for all answers that it shows, so that a message that was lost delays and loses nothing.
-- ARGV: front, ids
-- → for each id: the number of its frames, or -1 if there is no such answer; the hash of the last one (4 bytes); its state.
-- The hash is needed: after Redis has lost its tail, another text may have as many frames.
local t, out = now(), {}
for i = 2, #ARGV do
    local m = P .. 'm:' .. ARGV[i]
    local there, state, n, last = is_there(ARGV[i])
    if state == 'queued' or state == 'running' then
        redis.call('HSET', m, 'seen', t)
        show(ARGV[i], ARGV[1])
    end
    out[#out + 1] = there and n or -1
    out[#out + 1] = string.sub(last or '', 1, 4)
    out[#out + 1] = state or ''
end
return out
