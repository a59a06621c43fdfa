"""Google Analytics: the events of BigQuery's export, or reports with the totals of days."""

from __future__ import annotations

from ingest.migration.ga4 import reports
from ingest.migration.ga4.events import read

__all__ = ["read", "reports"]
