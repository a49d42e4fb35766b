-- ARGV: front, id, how many frames it has, their hash (4 bytes), the most frames to return
-- → {'ok', state, code, message, model, key, number of frames, frames from there on…}
--   {'none'}; {'diverged'}; {'beyond', number of frames}
local F, id, k, hash, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
if not is_there(id) then
    return {'none'}
end
local m = redis.call('HMGET', P .. 'm:' .. id, 'state', 'code', 'message', 'model', 'key')
local n = count(id)
if k > n then
    return {'beyond', n}
elseif k > 0 and string.sub(frames(id, k - 1, 1)[1] or '', 1, 4) ~= hash then
    return {'diverged'}
end
if m[1] == 'queued' or m[1] == 'running' then
    show(id, F)
    redis.call('HSET', P .. 'm:' .. id, 'seen', now())
end
return {'ok', m[1], m[2] or '', m[3] or '', m[4], m[5], n, unpack(frames(id, k, most))}
