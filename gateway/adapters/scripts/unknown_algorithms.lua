-- Which algorithms of quotas are unknown to the scripts: quotas.lua stands before this.
--
-- ARGV      names of algorithms (core/quotas/algorithms.py)
-- Returns those that no quota can have: a rule with one would be refused.

local unknown = {}
for i = 1, #ARGV do
  if not ALGORITHMS[ARGV[i]] then
    unknown[#unknown + 1] = ARGV[i]
  end
end
return unknown
