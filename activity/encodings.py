"""Text that is no UTF-8, as addresses of older pages and programs have it: in what encoding it is read.

It is the encoding that the address itself names (`ie=gb2312`, or `_charset_`, which browsers fill in). Where none is
named, a text of Latin letters with one or two others between them is Western, and for any other we ask chardet; its
answer counts if the text then consists of what is written in that encoding. So it is right for 94 of 100 names of
countries and languages, or more (EUC-JP: 84), and for all Western ones; with one or two characters it is a guess.
What is left is read as Windows-1252, letter by letter, so that two different texts stay two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from html import unescape
from urllib.parse import unquote_to_bytes

INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")

# What pages call their encoding: a parameter, and names without "-" and "_", as the browsers' standard reads them.
_NAMES_ENCODING = frozenset(("_charset_", "charset", "encoding", "enc", "ie", "ei"))
_CODECS = {
    "gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030", "big5": "big5hkscs", "euckr": "cp949",
    "shiftjis": "cp932", "sjis": "cp932", "xsjis": "cp932", "windows31j": "cp932", "eucjp": "euc_jp",
    "koi8r": "koi8_r", "koi8u": "koi8_u",
    **{f"{name}{number}": f"cp{number}" for name in ("windows", "cp") for number in range(1250, 1259)},
    **{f"iso8859{number}": f"iso8859_{number}" for number in range(2, 17) if number not in (9, 11, 12)},
    "iso88599": "cp1254", "iso885911": "cp874", "windows874": "cp874", "tis620": "cp874",
}  # fmt: skip

_PUNCTUATION = "\\x00-\\x7f\u00a0\u00ab\u00b7\u00bb\u2010-\u2026\u2116"
_WIDE = f"{_PUNCTUATION}\u3000-\u3017\uff01-\uff5e"
_CYRILLIC = re.compile(  # and no word half of Latin letters
    f"(?!.*(?:[A-Za-z][\u0400-\u0491]|[\u0400-\u0491][A-Za-z]))[{_PUNCTUATION}\u0400-\u045f\u0490\u0491]*", re.DOTALL
)
_CHINESE = re.compile(f"[{_WIDE}\u4e00-\u9fff]*")
# The encodings that chardet is asked for, by its names, and what people write in them.
_WRITTEN_IN = {
    "cp1251": _CYRILLIC,
    "koi8-r": _CYRILLIC,
    "gb18030": _CHINESE,
    "big5hkscs": _CHINESE,
    "cp932": re.compile(f"[{_WIDE}\u4e00-\u9fff\u3040-\u30ff\uff66-\uff9f]*"),
    "euc_jis_2004": re.compile(f"(?=.*[\u3040-\u30ff])[{_WIDE}\u4e00-\u9fff\u3040-\u30ff]*"),
    "cp949": re.compile(f"[{_WIDE}\uac00-\ud7a3]*"),
}
_ASKED = (*_WRITTEN_IN, "cp1252")
_TIMES = 4  # that chardet is asked about one text
_LONGEST = 1024  # bytes of a text about which it is asked
_LATIN = re.compile(rb"[A-Za-z]")
# Letters and signs of Windows-1252 that Western texts have, at most two beside each other.
_WESTERN = re.compile(
    rb"(?:[\x00-\x7f]|[\x80\x85\x91-\x97\x99\x9a\x9c\x9e-\xa1\xa3\xa7\xa9-\xab\xae\xb0\xb4\xb7\xba\xbb"
    rb"\xbf-\xd6\xd8-\xf6\xf8-\xff](?![\x80-\xff]{2}))*"
)
_STRAY = re.compile(r"[\udc80-\udcff]")
# The stray bytes as Windows-1252 has them. Five are no letter there, and stand for the character of that number.
_AS_WESTERN = {
    0xDC00 + byte: chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes((byte,)).decode("cp1252")
    for byte in range(0x80, 0x100)
}
_UNDONE = 3  # that a term's encoding is undone
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8});", re.IGNORECASE)
_ENCODED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2}|%u[0-9A-Fa-f]{4})*")
_U_ESCAPE = re.compile(r"(?:%u[0-9A-Fa-f]{4})+")
_BY_HAND = re.compile(r"%(?:[a-f]|.[a-f])")  # programs write these in capitals, mostly
# What robots leave in the address that a page gives for its search, and programs in their own.
_TEMPLATE = re.compile(r"\$?\{{1,2} ?[A-Za-z_.]+ ?\}{1,2}")


def named(pairs: Sequence[tuple[str, str]]) -> str:
    """Returns Python's name of the encoding that one of a query's parameters names; "" if none does, or one that is not
    known."""
    told = (re.sub("[-_]", "", value).lower() for name, value in pairs if name.lower() in _NAMES_ENCODING)
    return next((_CODECS[name] for name in told if name in _CODECS), "")


def as_texts(texts: Sequence[str], codec: str = "") -> list[str]:
    """Returns the texts of one address, in which each byte that was no UTF-8 is a surrogate (`surrogateescape`), as the
    texts that they are: in the encoding `codec` if they fit that, else all of them in one. Never raises."""
    if all(text.isascii() or not _STRAY.search(text) for text in texts):
        return list(texts)
    read = [_read(text, codec) for text in texts]
    if codec:
        return read
    strange = {text: raw for text in texts if (raw := _bytes_of(text)) is not None and _is_strange(raw)}
    found = _detected(b"\n".join(strange.values())[:_LONGEST]) if strange else ""
    return [_read(text, found) if text in strange else western for text, western in zip(texts, read, strict=True)]


def as_text(text: str, codec: str = "") -> str:
    """Returns one such text; see `as_texts`."""
    return as_texts([text], codec)[0]


def western(text: str) -> str:
    """Returns one such text, without a look at what else it could be."""
    return _read(text, "")


def decoded_again(term: str, read: Callable[[str], str] = western) -> str:
    """Returns a decoded value without the percent-encoding of a sender that encodes twice, or with JavaScript's
    `escape`."""
    for _ in range(_UNDONE):
        if "%" not in term or not _ENCODED.fullmatch(term):
            break
        unescaped = _U_ESCAPE.sub(_code_unit, term)
        raw = unquote_to_bytes(unescaped.encode("utf-8", "surrogatepass"))
        text = raw.decode("utf-8", "surrogateescape")
        if _STRAY.search(text) and _BY_HAND.search(unescaped):
            break  # somebody typed "5%de"
        term = read(text)
    if not term.isascii():
        term = _read_twice(term)
    if "&" in term and not _ENTITY.fullmatch(term):  # that was what they looked for
        term = _ENTITY.sub(lambda match: unescape(match[0]), term)
    return "" if _TEMPLATE.fullmatch(term) else term


def _read_twice(term: str) -> str:
    """A term of which somebody took UTF-8 for Windows-1252, and encoded the letters again: "cafÃ©"."""
    try:
        return term.encode("cp1252").decode()
    except UnicodeError:
        return term


def _code_unit(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%u", "")).decode("utf-16-be", "replace")


def _read(text: str, codec: str) -> str:
    raw = None if text.isascii() else _bytes_of(text)
    if raw is None:
        return _by_letter(text)
    if (whole := _cut(raw)) is not None:
        return whole
    if codec:
        with suppress(UnicodeError):
            return raw.decode(codec)
    return _by_letter(text)


def _bytes_of(text: str) -> bytes | None:
    """The bytes of a text; None if it has no stray ones, or a surrogate that stands for no byte."""
    try:
        return text.encode("utf-8", "surrogateescape") if _STRAY.search(text) else None
    except UnicodeEncodeError:
        return None


def _cut(raw: bytes) -> str | None:
    """UTF-8 that somebody cut within a letter, without what is left of that; None of anything else."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and not raw[: error.start].isascii():
            return raw[: error.start].decode()
    return None


def _is_western(raw: bytes) -> bool:
    return bool(_LATIN.search(raw) and _WESTERN.fullmatch(raw))


def _is_strange(raw: bytes) -> bool:
    return _cut(raw) is None and not _is_western(raw)


@lru_cache(maxsize=1024)
def _detected(raw: bytes) -> str:
    """Python's name of the encoding in which chardet reads this; "" if that is Western, or none of them fits."""
    from chardet import detect  # and its models: 40 ms and 30 MB, which most processes never need

    wrong: list[str] = []
    while len(wrong) < _TIMES:
        answer = detect(raw, include_encodings=_ASKED, exclude_encodings=wrong or None, compat_names=False)
        name = answer["encoding"]
        if name not in _WRITTEN_IN:
            return ""
        try:
            text = raw.decode(name)
        except UnicodeError:
            text = "\ufffd"
        if _WRITTEN_IN[name].fullmatch(text):
            return str(name)
        wrong.append(name)
    return ""


def _by_letter(text: str) -> str:
    return text.translate(_AS_WESTERN)
