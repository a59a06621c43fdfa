"""The verbs of the `footfall` command; see the table in `infra.cli`."""
