-- The days of a site from {first} to {last}, as {zone} has them, that had rows when the horizon was last moved: the version of
-- each, and whether it is built and was valid then.
SELECT day, version, valid AND edition = {edition:UInt16} AS built
FROM day_builds FINAL
WHERE site = {site:String} AND zone = {zone:String} AND day BETWEEN {first:Date32} AND {last:Date32}
