-- Removes one variant of an export, or all. exports.lua comes before this.
--
-- KEYS[1]   the export
-- ARGV[1]   the variant, or '' for all

local variants = ARGV[1] ~= '' and { ARGV[1] } or redis.call('HKEYS', KEYS[1])
for _, variant in ipairs(variants) do
  drop(KEYS[1], variant)
end
