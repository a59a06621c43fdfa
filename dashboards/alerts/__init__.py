"""Alerts: what can be watched, when a value fires, and the page where alerts are managed."""
