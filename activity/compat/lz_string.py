"""LZ-String's compression in base64, as old clients for browsers send it. Only unpacking is needed.

A stream of codes, each with its lowest bit first, six bits a letter of base64. A code 0 or 1 stands for a character of
8 or 16 bits that is new, 2 for the end, and any other for an entry of the dictionary, which gains one with every code:
the entry before and the first character of this one. The codes get longer as the dictionary grows.
Source: https://pieroxy.net/blog/pages/lz-string
"""

from __future__ import annotations

import binascii
from base64 import b64decode

_NEW_OF_8, _NEW_OF_16, _END = 0, 1, 2
_ONE_ALPHABET = bytes.maketrans(b" -_", b"++/")  # a form's "+" has become a blank


class _Bits:
    """The bits of bytes, the highest of each byte first; 0 beyond their end."""

    def __init__(self, packed: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in packed)
        self._at = 0

    def next(self, count: int) -> int:
        """Return a number of that many bits, of which the lowest comes first."""
        self._at += count
        return int(self._bits[self._at - count : self._at][::-1] or "0", 2)

    @property
    def are_over(self) -> bool:
        return self._at > len(self._bits)


def unpacked(encoded: bytes, longest: int) -> bytes | None:
    """Return the text in UTF-8, b"" for what is none; None for one of more than `longest` characters. Never raises.

    Costs some 0.5 us a letter of the base64."""
    letters = encoded.strip().translate(_ONE_ALPHABET).rstrip(b"=")
    try:
        packed = b64decode(letters + b"A" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
    units = _text(_Bits(packed), longest)
    return None if units is None else units.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _text(bits: _Bits, longest: int) -> str | None:
    """Return the characters, two of them for one beyond the 16 bits; "" if the stream is broken, None if too long."""
    entries = ["", "", ""]
    width, room = 3, 4  # bits of a code, and codes until they get longer
    code = bits.next(2)
    if code not in (_NEW_OF_8, _NEW_OF_16):
        return ""
    before = chr(bits.next(16 if code else 8))
    entries.append(before)
    parts, length = [before], 1
    while not bits.are_over:
        code = bits.next(width)
        if code == _END:
            return "".join(parts)
        if code in (_NEW_OF_8, _NEW_OF_16):
            entries.append(chr(bits.next(16 if code else 8)))
            code = len(entries) - 1
            room -= 1
            if room == 0:
                room, width = 1 << width, width + 1
        if code < len(entries):
            entry = entries[code]
        elif code == len(entries):
            entry = before + before[0]
        else:
            return ""
        parts.append(entry)
        length += len(entry)
        if length > longest:
            return None
        entries.append(before + entry[0])
        room -= 1
        if room == 0:
            room, width = 1 << width, width + 1
        before = entry
    return ""
