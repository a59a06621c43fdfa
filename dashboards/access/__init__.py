"""Who may use the dashboards port, and what they may do there."""

from dashboards.access.guard import guard
from dashboards.access.rules import COOKIE, Access

__all__ = ["COOKIE", "Access", "guard"]
