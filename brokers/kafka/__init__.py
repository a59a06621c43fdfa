"""`kafka://`, `redpanda://`, `warpstream://`: the Kafka protocol, through either of two client libraries."""
