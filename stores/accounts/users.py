"""Users with their passwords and grants, and the sessions of those who signed in."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from stores.accounts.file import AccountsFile
from stores.accounts.passwords import Passwords
from stores.accounts.roles import ALL, AccountRefused, Grants, Role

LONGEST_NAME = 254
SESSION_MS = 7 * 86_400_000

_USERS = "SELECT id, name, created, disabled, totp IS NOT NULL AS code FROM users"
_OWNERS = """
SELECT count(*) FROM users JOIN grants ON grants.user = users.id
WHERE role = 'owner' AND NOT disabled AND (:but IS NULL OR users.id != :but)
"""
_OF_SESSION = """
SELECT users.id, name, created, disabled, totp IS NOT NULL AS code FROM users JOIN sessions ON sessions.user = users.id
WHERE key = :key AND expires > :now AND NOT disabled
"""


@dataclass(frozen=True)
class User:
    """Somebody with a name and a password. `created` is in ms."""

    id: int
    name: str
    created: int
    disabled: bool
    grants: Grants
    code: bool  # whether a second factor is asked for

    @property
    def is_owner(self) -> bool:
        """Whether this user owns all sites."""
        return self.grants.over(ALL) is Role.OWNER


class Users:
    """The users of one accounts file. `clock` returns Unix milliseconds.

    Methods raise `AccountRefused` for a user that does not exist, and what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile, passwords: Passwords, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock
        self._passwords = passwords

    @property
    def any(self) -> bool:
        """Whether there is a user at all, disabled ones included: then everybody has to sign in."""
        return bool(self._file.rows("SELECT 1 FROM users LIMIT 1"))

    @property
    def any_owner(self) -> bool:
        """Whether somebody can sign in as owner."""
        return bool([count for (count,) in self._file.rows(_OWNERS, but=None) if count])

    def all(self) -> list[User]:
        """All users, by name."""
        return [self._user(row) for row in self._file.rows(f"{_USERS} ORDER BY name")]

    def get(self, name: str) -> User:
        """The user of this name."""
        rows = self._file.rows(f"{_USERS} WHERE name = :name", name=plain(name))
        if not rows:
            raise AccountRefused(f"there is no user {name!r}: `footfall user list` names those that there are")
        return self._user(rows[0])

    def has(self, name: str) -> bool:
        """Whether there is a user of this name."""
        return bool(self._file.rows("SELECT 1 FROM users WHERE name = :name", name=plain(name)))

    def add(self, name: str, password: str, grants: Grants) -> User:
        """Add a user. Raises `AccountRefused` for a name or password that cannot be, or a name that is there."""
        name, hashed = _checked(name), self._passwords.hashed(password)
        with self._file.transaction() as db:
            if grants.over(ALL) is not Role.OWNER and not db.execute(_OWNERS, {"but": None}).fetchone()[0]:
                raise AccountRefused("the first user has to be an owner: give --role owner")
            if db.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
                raise AccountRefused(f"there is a user {name} already")
            db.execute(
                "INSERT INTO users (name, password, created) VALUES (:name, :password, :created)",
                {"name": name, "password": hashed, "created": self._clock()},
            )
            _set_grants(db, db.execute("SELECT last_insert_rowid()").fetchone()[0], grants)
        return self.get(name)

    def remove(self, name: str) -> None:
        """Remove a user with all sessions; never the last owner."""
        user = self.get(name)
        with self._file.transaction() as db:
            _keep_an_owner(db, user)
            db.execute("DELETE FROM users WHERE id = ?", (user.id,))

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password, which ends all sessions of the user."""
        user, hashed = self.get(name), self._passwords.hashed(password)
        with self._file.transaction() as db:
            db.execute("UPDATE users SET password = ? WHERE id = ?", (hashed, user.id))
            db.execute("DELETE FROM sessions WHERE user = ?", (user.id,))

    def grant(self, name: str, role: Role | None, sites: Sequence[str] = ()) -> None:
        """Give a user a role for these sites, beside those for other sites, or for all sites and nothing else.

        None takes away what there is. A role for all sites does not outlive one for some. The last owner stays one."""
        user = self.get(name)
        kept = {site: held for site, held in user.grants.items() if sites and site not in (*sites, ALL)}
        grants = Grants(kept | (dict.fromkeys(sites or [ALL], role) if role else {}))
        with self._file.transaction() as db:
            if grants.over(ALL) is not Role.OWNER:
                _keep_an_owner(db, user)
            _set_grants(db, user.id, grants)

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Keep a user out, which ends all sessions, or let the user in again. Never keeps out the last owner."""
        user = self.get(name)
        with self._file.transaction() as db:
            if disabled:
                _keep_an_owner(db, user)
                db.execute("DELETE FROM sessions WHERE user = ?", (user.id,))
            db.execute("UPDATE users SET disabled = ? WHERE id = ?", (disabled, user.id))

    def verify(self, name: str, password: str) -> User | None:
        """The user of this name and password; None if they do not go together.

        A wrong name, a disabled user and a wrong password take the same time."""
        found = self._file.rows("SELECT password, disabled FROM users WHERE name = :name", name=plain(name))
        nobody = self._nobody
        stored = str(found[0]["password"]) if found else nobody
        right = self._passwords.match(stored, password)
        if not found or found[0]["disabled"] or not right:
            return None
        if self._passwords.outdated(stored):
            self._file.change(
                "UPDATE users SET password = :new WHERE name = :name AND password = :stored",
                new=self._passwords.hashed(password), name=plain(name), stored=stored,
            )  # fmt: skip
        return self.get(name)

    def start_session(self, user: User) -> str:
        """The secret of a new session, for a cookie. Sessions that are over are removed."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._file.transaction() as db:
            db.execute("DELETE FROM sessions WHERE expires <= ?", (now,))
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (digest(secret), user.id, now, now + SESSION_MS))
        return secret

    def of_session(self, secret: str) -> User | None:
        """The user whose session this is; None if it is over, or never was."""
        rows = self._file.rows(_OF_SESSION, key=digest(secret), now=self._clock())
        return self._user(rows[0]) if rows else None

    def end_session(self, secret: str) -> None:
        """End one session."""
        if self.any:
            self._file.change("DELETE FROM sessions WHERE key = :key", key=digest(secret))

    def sessions(self, user: User) -> list[tuple[int, int]]:
        """When each session of a user began and will be over, in ms, the latest first."""
        statement = "SELECT started, expires FROM sessions WHERE user = :user AND expires > :now ORDER BY started DESC"
        return [tuple(row) for row in self._file.rows(statement, user=user.id, now=self._clock())]

    def end_other_sessions(self, user: User, secret: str) -> None:
        """End all sessions of a user but this one."""
        self._file.change("DELETE FROM sessions WHERE user = :user AND key != :key", user=user.id, key=digest(secret))

    def _user(self, row: sqlite3.Row) -> User:
        granted = self._file.rows("SELECT site, role FROM grants WHERE user = :user", user=row["id"])
        grants = Grants({site: Role(role) for site, role in granted})
        return User(row["id"], row["name"], row["created"], bool(row["disabled"]), grants, bool(row["code"]))

    @cached_property
    def _nobody(self) -> str:
        """A hash that no password matches, for names that nobody has."""
        return self._passwords.hashed(secrets.token_urlsafe(32))


def digest(secret: str) -> bytes:
    """What is stored of a long random secret: nobody can guess it, so a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def new_password() -> str:
    """A random password."""
    return secrets.token_urlsafe(18)


def plain(name: str) -> str:
    """The one spelling of a user's name."""
    return unicodedata.normalize("NFKC", name.strip()).lower()


def _checked(name: str) -> str:
    name = plain(name)
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or any(map(str.isspace, name)):
        raise AccountRefused(f"{name[:LONGEST_NAME]!r} is no user's name: write an e-mail address or a word")
    return name


def _set_grants(db: sqlite3.Connection, user: int, grants: Grants) -> None:
    db.execute("DELETE FROM grants WHERE user = ?", (user,))
    db.executemany("INSERT INTO grants VALUES (?, ?, ?)", [(user, site, str(role)) for site, role in grants.items()])


def _keep_an_owner(db: sqlite3.Connection, user: User) -> None:
    """Raise `AccountRefused` if there is no other owner than this user."""
    if user.is_owner and not db.execute(_OWNERS, {"but": user.id}).fetchone()[0]:
        raise AccountRefused(f"{user.name} is the last owner: make somebody else an owner first")
