-- The months of a site, by their first days from {first} to {last}, that were made in {zone}: the version of each, and the
-- days that it is made of with the versions of their builds.
SELECT month, version, days, versions
FROM month_builds FINAL
WHERE site = {site:String} AND zone = {zone:String} AND month BETWEEN {first:Date32} AND {last:Date32}
