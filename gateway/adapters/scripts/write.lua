-- Runs commands that write little and must not be refused while Redis is full: alone they would be, in a script they
-- are not (redis/scripts.py).
--
-- KEYS[i]   the key of command i, ARGV[i] the command and what follows the key, JSON
-- Returns the answers.

local answers = {}
for i, key in ipairs(KEYS) do
  local words = cjson.decode(ARGV[i])
  answers[i] = redis.call(words[1], key, unpack(words, 2))
end
return answers
