"""`sqlite:///path/to/file`: the log of one machine, in one file."""
