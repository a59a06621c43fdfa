"""Access logs as events: what `footfall import` reads."""
