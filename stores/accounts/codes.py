"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for when it is lost.

No code is accepted twice. Secrets of the app lie readable in the file, because its codes are computed from them;
recovery codes are stored as hashes.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable

import pyotp

from stores.accounts.file import AccountsFile
from stores.accounts.roles import AccountRefused
from stores.accounts.users import User, digest

RECOVERY_CODES = 10
_STEP_MS = 30_000
_NEAR = (0, -1, 1)  # steps: clocks differ, and typing takes time
_SECRET = re.compile(r"[A-Z2-7]{32}")


class Codes:
    """The second factors of one accounts file. `clock` returns Unix milliseconds.

    Methods raise what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock

    def turn_on(self, user: User, secret: str, code: str) -> list[str]:
        """Ask this user for codes of an app with this secret from now on; returns the recovery codes, told only now.

        `code` shows that the app has the secret. Raises `AccountRefused` if it does not."""
        if not _SECRET.fullmatch(secret) or (step := self._step(secret, code)) is None:
            raise AccountRefused("this is not the code that the app shows now: look at its clock, and try again")
        made = [f"{secrets.token_hex(4)}-{secrets.token_hex(4)}" for _ in range(RECOVERY_CODES)]
        with self._file.transaction() as db:
            db.execute("UPDATE users SET totp = ?, totp_step = ? WHERE id = ?", (secret, step, user.id))
            db.execute("DELETE FROM recovery WHERE user = ?", (user.id,))
            db.executemany("INSERT INTO recovery VALUES (?, ?)", [(user.id, digest(each)) for each in made])
        return made

    def turn_off(self, user: User) -> None:
        """Ask this user for no code any more."""
        with self._file.transaction() as db:
            db.execute("UPDATE users SET totp = NULL WHERE id = ?", (user.id,))
            db.execute("DELETE FROM recovery WHERE user = ?", (user.id,))

    def accepts(self, user: User, code: str) -> bool:
        """Whether a code of the app or a recovery code is right; it is used up then. Any is, if none is asked for."""
        rows = self._file.rows("SELECT totp FROM users WHERE id = :id", id=user.id)
        if rows and rows[0]["totp"] is None:
            return True
        step = self._step(rows[0]["totp"], code) if rows else None
        if step is not None:
            used = "UPDATE users SET totp_step = :step WHERE id = :id AND totp_step < :step"
            return self._file.change(used, step=step, id=user.id) == 1
        key = digest(code.strip().lower())
        return self._file.change("DELETE FROM recovery WHERE user = :user AND key = :key", user=user.id, key=key) == 1

    def recovery_left(self, user: User) -> int:
        """How many recovery codes of this user are not used up."""
        return int(sum(count for (count,) in self._file.rows(
            "SELECT count(*) FROM recovery WHERE user = :user", user=user.id
        )))  # fmt: skip

    def _step(self, secret: str, code: str) -> int | None:
        """The step of time whose code this is; None if it is none of now."""
        shown, totp = "".join(code.split()).encode("utf-8", "replace"), pyotp.TOTP(secret)
        now = self._clock() // _STEP_MS
        right = [now + near for near in _NEAR if hmac.compare_digest(totp.generate_otp(now + near).encode(), shown)]
        return right[0] if right else None


def new_secret() -> str:
    """A random secret for an app."""
    return pyotp.random_base32()


def link(user: User, secret: str) -> str:
    """The address that an app reads the secret from, as a link or as a picture."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name="Footfall")
