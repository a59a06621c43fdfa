"""Passwords as they are stored: by argon2id, two at a time."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from stores.accounts.roles import AccountRefused

SHORTEST, LONGEST = 12, 1_000  # characters

_AT_ONCE = 2  # hashed at the same time: each takes 64 MiB and a few cores


class Passwords:
    """Hashes passwords and compares them with hashes, for all that one accounts file holds."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def hashed(self, password: str) -> str:
        """The hash of a new password. Raises `AccountRefused` for one that cannot be."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise AccountRefused(f"a password has {SHORTEST} to {LONGEST} characters, not {len(password)}")
        try:
            password.encode()
        except UnicodeEncodeError as error:
            raise AccountRefused("half of a surrogate pair is no text: write the password as UTF-8") from error
        with self._turns:
            return self._hasher.hash(password)

    def match(self, stored: str, password: str) -> bool:
        """Whether this is the password of a hash."""
        try:
            with self._turns:
                return self._hasher.verify(stored, password[: LONGEST + 1].encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, stored: str) -> bool:
        """Whether a hash should be made again, with the parameters of now."""
        return self._hasher.check_needs_rehash(stored)
