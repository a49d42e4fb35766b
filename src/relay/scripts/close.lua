-- The session ends: what it computes was handed on or has ended before.
-- ARGV: session, n
-- → 'ok'; 'gone'; 'want'; 'busy' (it computes something)
local S = ARGV[1]
if redis.call('SCARD', P .. 'own:' .. S) > 0 then
    return 'busy'
end
local why = fence(S, tonumber(ARGV[2]))
if why == 'gone' or why == 'want' then
    return why
end
forget(S)
return 'ok'
