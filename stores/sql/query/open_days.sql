-- Which days of a site from {first} to {last}, as {zone} has them, were summed up before they were over, and how.
SELECT day, version, units, late, rows
FROM open_days FINAL
WHERE site = {site:String} AND zone = {zone:String} AND day BETWEEN {first:Date32} AND {last:Date32} AND edition = {edition:UInt16}
    AND notEmpty(units)
