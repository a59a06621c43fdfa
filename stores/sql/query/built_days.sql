-- The days of a site from {first} to {last}, as {zone} has them, that are built and were valid when the horizon was last
-- moved, and the version of each.
SELECT day, version
FROM day_builds FINAL
WHERE site = {site:String} AND zone = {zone:String} AND day BETWEEN {first:Date32} AND {last:Date32} AND valid AND edition = {edition:UInt16}
