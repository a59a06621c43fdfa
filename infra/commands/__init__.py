"""The verbs of the `footfall` command, a small module each; see the table in `infra.cli`."""
