"""Accounts of the dashboards and the messages that they send, in one SQLite file of the data folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from stores.accounts.alerts import Alerts
from stores.accounts.audit import AuditLog
from stores.accounts.codes import Codes
from stores.accounts.file import AccountsFile
from stores.accounts.reports import Reports
from stores.accounts.tokens import Tokens
from stores.accounts.users import Users

FILE = "accounts.db"


def _clock() -> int:
    return int(time.time() * 1000)


class Accounts:
    """Everything that one accounts file holds. `clock` returns Unix milliseconds."""

    def __init__(self, path: Path, clock: Callable[[], int] = _clock) -> None:
        self._file = AccountsFile(path)
        self.users = Users(self._file, clock)
        self.codes = Codes(self._file, clock)
        self.tokens = Tokens(self._file, clock)
        self.alerts = Alerts(self._file, clock)
        self.reports = Reports(self._file, clock)
        self.audit = AuditLog(self._file, clock)

    def close(self) -> None:
        self._file.close()
