"""Who did it, without knowing who it is: a visitor is a keyed 64-bit hash, 16 lowercase hex digits.

The key decides how long two visits can be told to be the same visitor's. The daily salt, forgotten after
48 hours, makes a cookieless id that nobody can trace back to an address; a site's import key, which is kept,
makes ids that a second import of the same log repeats. Each use has its own personalisation, so ids of one
kind never meet those of another by chance of equal input.
"""

from __future__ import annotations

from hashlib import blake2b


def visitor_id(salt: bytes, site: str, ip: str, user_agent: str) -> str:
    """The cookieless visitor of the day to which `salt` (16 random bytes; at most 64) belongs."""
    return _digest(salt, b"cookieless", f"{site}\0{ip}\0{user_agent}")


def import_visitor(key: bytes, site: str, ip: str, user_agent: str) -> str:
    """The visitor of an imported log line, under the site's kept import key (at most 64 bytes)."""
    return _digest(key, b"import", f"{site}\0{ip}\0{user_agent}")


def named_visitor(site: str, key: bytes, visitor: str) -> str:
    """The visitor whom a trusted sender names by a text of its own, under the site's kept import key."""
    return _digest(key, b"named", f"{site}\0{visitor}")


def _digest(key: bytes, use: bytes, text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key, person=use).hexdigest()
