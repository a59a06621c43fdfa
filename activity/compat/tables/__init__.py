"""The tables of the longer protocols: what becomes of each field, by the protocol's name."""
