"""Accounts of the dashboards, what is kept for its sites and what is sent about them, in one SQLite file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from stores.accounts.alerts import Alerts
from stores.accounts.annotations import Annotations
from stores.accounts.audit import AuditLog
from stores.accounts.codes import Codes
from stores.accounts.file import AccountsFile
from stores.accounts.passwords import Passwords
from stores.accounts.reports import Reports
from stores.accounts.saved import SavedFilters
from stores.accounts.shares import Shares
from stores.accounts.tokens import Tokens
from stores.accounts.users import Users

FILE = "accounts.db"


def _clock() -> int:
    return int(time.time() * 1000)


class Accounts:
    """Everything that one accounts file holds. `clock` returns Unix milliseconds."""

    def __init__(self, path: Path, clock: Callable[[], int] = _clock) -> None:
        self._file = AccountsFile(path)
        passwords = Passwords()
        self.users = Users(self._file, passwords, clock)
        self.codes = Codes(self._file, clock)
        self.tokens = Tokens(self._file, clock)
        self.alerts = Alerts(self._file, clock)
        self.reports = Reports(self._file, clock)
        self.audit = AuditLog(self._file, clock)
        self.saved = SavedFilters(self._file)
        self.shares = Shares(self._file, passwords, clock)
        self.annotations = Annotations(self._file)

    def close(self) -> None:
        self._file.close()
