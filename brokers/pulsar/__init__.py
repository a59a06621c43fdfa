"""`pulsar://`, `pulsar+ssl://`: Apache Pulsar."""
