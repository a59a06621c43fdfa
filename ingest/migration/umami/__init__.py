"""Umami: a website's rows, of any version, or what a range of time amounts to."""

from __future__ import annotations

from ingest.migration.umami import answers, day
from ingest.migration.umami.website import read

__all__ = ["answers", "day", "read"]
