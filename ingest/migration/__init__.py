"""The history that people have elsewhere: the exports of other products as events, and as days that are added up."""

from __future__ import annotations

PRODUCTS = ("plausible", "umami", "matomo", "ga4", "goatcounter")
