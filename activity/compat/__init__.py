"""Other trackers' wire formats: one module a protocol, see `protocol` for what each consists of."""
