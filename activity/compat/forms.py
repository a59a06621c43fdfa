"""The parameters of a query, and the fields of a form in either way that programs send one. Nothing here raises."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from activity.compat.values import valid
from activity.encodings import as_texts, named, western
from activity.incoming import Limits
from activity.refusal import Reason, Refusal

_MOST_PARAMETERS = 500
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_PART = re.compile(rb'content-disposition:[^\r\n]{0,64}; ?name="([^"\r\n]{1,128})"', re.IGNORECASE)


def parameters(query: str, limits: Limits) -> dict[str, str] | Refusal:
    """Return the parameters of a query or a form; the first counts of those that are there twice.

    What is no UTF-8 is read in the encoding that `cs` or another parameter names, else as Western."""
    query = query[: limits.body_bytes]
    if query.count("&") >= _MOST_PARAMETERS:
        most = _MOST_PARAMETERS
        return Refusal(0, Reason.TOO_MANY, f"the address has more than {most} parameters: leave some out")
    if "&amp;" in query:  # as it stands in a page
        query = query.replace("&amp;", "&")
    found: dict[str, str] = {}
    is_strange = False
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:  # most need no decoding, which is most of the cost
            name, value = unquote_plus(name), unquote_plus(value)
            is_strange = is_strange or "\ufffd" in value
        if pair and name not in found:
            found[name] = value
    return _in_their_encoding(query, found) if is_strange else found


def _in_their_encoding(query: str, found: dict[str, str]) -> dict[str, str]:
    """Return parameters of which some are no UTF-8, as the texts that they are."""
    strange: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        strange.setdefault(unquote_plus(name), unquote_plus(value, errors="surrogateescape"))
    codec = named([*found.items(), ("charset", found.get("cs", ""))])
    # Nobody is asked what else than Western it could be: there are a thousand queries in a request.
    texts = as_texts([*strange.values()], codec) if codec else map(western, strange.values())
    return {name: valid(value) for name, value in zip(strange, texts, strict=True) if name in found}


def form(body: bytes, limits: Limits) -> dict[str, str] | Refusal:
    """Return the fields of a form, in either way that programs send one; of a file what it holds."""
    if body.startswith(b"--"):
        return _of_parts(body)
    try:
        return parameters(body.decode(), limits)
    except UnicodeDecodeError:
        return parameters(body.decode("cp1252", "replace"), limits)


def is_multipart(body: bytes) -> bool:
    """Return whether a body begins as a form in several parts does."""
    return body.startswith(b"--") and _PART.search(body, 0, 1_024) is not None


def _of_parts(body: bytes) -> dict[str, str] | Refusal:
    boundary = body.partition(b"\n")[0].strip()
    found: dict[str, str] = {}
    parts = (b"\n" + body).split(b"\n" + boundary, _MOST_PARAMETERS + 1)[1:]
    if len(parts) > _MOST_PARAMETERS:
        return Refusal(0, Reason.TOO_MANY, f"the form has more than {_MOST_PARAMETERS} fields: leave some out")
    for part in parts:
        head, *content = _BLANK_LINE.split(part.lstrip(b"\r\n"), 1)
        if content and (name := _PART.search(head)):
            value = content[0].removesuffix(b"\r").decode("utf-8", "replace")
            found.setdefault(name[1].decode("utf-8", "replace"), value)
    return found
