-- The products of which days of a site were imported, of those from {first} to {last}.
SELECT DISTINCT toString(product) AS product
FROM imported_parts
WHERE site = {site:String} AND day BETWEEN {first:Date32} AND {last:Date32}
ORDER BY product
