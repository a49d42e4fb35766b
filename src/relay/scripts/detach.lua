-- A front shows an answer no more.
-- ARGV: front, id
-- → 'ok'
hide(ARGV[2], ARGV[1])
return 'ok'
