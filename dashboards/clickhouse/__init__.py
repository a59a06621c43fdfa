"""ClickHouse's own HTTP protocol on the dashboards port, read-only, for clients that speak it."""
