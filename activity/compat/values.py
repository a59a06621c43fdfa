"""What all protocols have in common: values of any kind that clients send, tidied into an event that can be stored.

Nothing here raises. Texts come out as `incoming` wants them: valid Unicode without NUL and lone surrogates, cut to
its lengths. A property that is a list or an object becomes JSON text. Of more properties than `Limits.props` the first
ones are kept, and one named `LEFT_OUT` says which are not. One that is named as the visitor's address is left out.

What all events of a request share is made to such texts once, and not with every event: each may be as large as the
request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from activity import amount
from activity.compat import screens, times
from activity.compat.protocol import Tracked
from activity.event import EventType, PropValue
from activity.incoming import LONGEST_USER, Limits, Revenue, Search
from activity.refusal import Reason, Refusal

LEFT_OUT = "props_left_out"  # the property that names those which were too many
SEARCH_NAMES = frozenset(("search", "site_search", "site search", "searched"))  # of custom events, in lower case
_TERM_NAMES = ("term", "query", "q", "search_term", "search", "keyword", "keywords")
_RESULT_NAMES = ("results", "result_count", "results_count", "count", "total")
_CAMPAIGNS = re.compile(r"[?&#](?:utm|mtm|matomo|pk|piwik)_")  # what the parameters of one begin with
_LONGEST_ID = _LONGEST_KEY = 128
_LONGEST_PROP, _LONGEST_AMOUNT = 1024, 64
# What programs send where they have no id.
NOBODY = frozenset(("null", "undefined", "NaN", "[object Object]", "None", "nil", "NULL", "(null)", "<null>"))
NOBODY |= {"0" * 16, "00000000-0000-0000-0000-000000000000"}
_WHOLE = re.compile(r"\s*-?\d{1,18}(\.0*)?\s*", re.ASCII)
_DECIMAL = re.compile(r"\s*-?\d{0,15}(\.\d{0,15})?([eE][-+]?\d{1,2})?\s*", re.ASCII)
# Names of a visitor's address among properties, as clients and servers of sites spell them: letters and digits only.
_ADDRESSES = frozenset((
    "ip", "ipaddr", "ipaddress", "ipoverride", "ipv4", "ipv6", "uip", "cip", "clientip", "clientipaddress", "userip",
    "useripaddress", "remoteip", "remoteaddr", "remoteaddress", "realip", "forwardedfor", "xforwardedfor",
    "sourceipaddress", "geoipaddress",
))  # fmt: skip
_IP_ADDRESS = re.compile(r"(?:(?:^|[^A-Za-z])(?i:ip)|[a-z0-9]I[Pp])[ _.-]?(?i:addr(?:ess(?:es)?)?)$")  # not a ship's
_ENDS_IN_IP = re.compile(r"[^A-Za-z0-9][iI][pP]$|[a-z0-9]I[pP]$")  # as in `last_ip`, `loginIp`; not in `zip`
# A member of JSON with its value, whole or cut off; of lists and objects inside others as much as hides what is inside.
_MEMBER = re.compile(r'"([^"\\]{2,64})":(?:"(?:[^"\\]|\\.)*"?|\[[^\]]*\]?|\{[^}]*\}?|[-\d.]+)')
_MOST_JSON = 4 * _LONGEST_PROP  # of what is looked through for addresses before it is cut
_EXACT = 2**53  # the largest number up to which every JSON reader keeps whole ones exactly


def tracked(
    kind: EventType,
    limits: Limits,
    *,
    site: object = "",
    url: object = "",
    referrer: object = "",
    title: object = "",
    name: object = "",
    props: Mapping[str, object] | None = None,
    search: Search | None = None,
    id: object = None,  # noqa: A002 - the field's own name
    ts: object = None,
    user: object = "",
    screen: object = "",
    language: object = "",
    engaged_ms: object = 0,
    revenue: Revenue | None = None,
    interactive: bool = True,
    client: object = "",
    address: object = "",
    agent: object = "",
    sent_at: int | None = None,
    ago_ms: int = 0,
    told_as: str = "",
) -> Tracked:
    """Return an event from values of any type: what is no text becomes one, null becomes "". Never raises.

    `ts` is Unix milliseconds or ISO 8601; `enrich` judges it, as it does the address of the page."""
    return Tracked(
        site=site if type(site) is str and len(site) < 254 and _is_clean(site) else text(site, 253),
        type=kind,
        url=url if type(url) is str and len(url) < 4097 and _is_clean(url) else text(url, 4096),
        referrer=text(referrer, 4096) if referrer else "",
        title=text(title, 512) if title and title not in ("undefined", "null") else "",
        name=text(name, 128).strip() if name else "",
        props=properties(props, limits) if props else {},
        search=search,
        id=identity(id),
        ts=None if ts is None else moment(ts),
        user=who(user, LONGEST_USER) if user else "",
        screen=screens.size(text(screen, 32)) if screen else "",
        language=language_tag(text(language, 35)) if language else "",
        engaged_ms=(number(engaged_ms) or 0) if engaged_ms else 0,
        revenue=revenue,
        interactive=interactive,
        client=who(client, 256) if client else "",
        address=first_address(address) if address else "",
        agent=text(agent, 1024) if agent else "",
        sent_at=sent_at,
        ago_ms=ago_ms,
        told_as=told_as,
    )


def who(given: object, longest: int) -> str:
    """Return the id of a user; "" for what a program sends that has none."""
    found = "" if isinstance(given, bool | list | dict) else text(given, longest)
    return "" if found in NOBODY else found


def first_address(given: object) -> str:
    """Return the visitor's address, of a text that may be a chain of proxies."""
    return text(given, 256).replace("unknown", "").lstrip(' ,"').partition(",")[0].strip(' "')[:64]


@lru_cache(maxsize=1024)
def language_tag(tag: str) -> str:
    """Return a language tag as browsers write it: some send "de-de", "de_DE.UTF-8" or a list of them; "" for none."""
    if not _TAG.fullmatch(tag) or tag.endswith("POSIX"):
        first = _BEHIND_TAG.split(tag.strip(), 1)[0].strip("-_ ")
        if not _TAG.fullmatch(first):
            return "" if first in NOBODY or first in ("C", "POSIX", "*") else tag
        tag = first
    first, *others = tag.replace("_", "-").split("-")
    return "-".join([first.lower(), *(_SUBTAG[len(part)](part) if len(part) in _SUBTAG else part for part in others)])


_BEHIND_TAG = re.compile(r"[,;.@#]|[-_][A-Za-z](?=[-_])|[-_]POSIX")  # others, a charset, a script, an extension
_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", re.ASCII)
_SUBTAG = {2: str.upper, 4: str.title}  # a region and a script, by their length


def text(value: object, longest: int = 4096) -> str:
    """Return a value as text: a number's digits, JSON of a list or an object, "" for null."""
    if type(value) is str:
        if not (value.isascii() and "\0" not in value) and not _is_clean(value):
            value = _clean(value)
        return value if len(value) <= longest else value[:longest]
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    return text(_as_json(value), longest)


def identity(value: object) -> str | None:
    """Return a client's own id of an event; a hash of one that is too long, so that no two become one. None for what a
    program sends that has none."""
    if type(value) is not str:
        value = text(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
    elif not _is_clean(value):
        value = _clean(value)
    if len(value) > _LONGEST_ID:
        return blake2b(value.encode(), digest_size=16).hexdigest()
    return None if not value or value in NOBODY else value


def properties(props: Mapping[str, object], limits: Limits) -> dict[str, PropValue]:
    """Return properties as they can be stored, in their order; see `LEFT_OUT` for too many."""
    kept = cut(props, limits)
    if len(kept) > limits.props:
        names = [*kept]
        room = max(limits.props - 1, 0)
        kept = {name: kept[name] for name in names[:room]}
        kept[LEFT_OUT] = ", ".join(names[room:])[:_LONGEST_PROP]
    return kept


def cut(props: Mapping[str, object], limits: Limits) -> dict[str, PropValue]:
    """Return properties as they can be stored, and of those beyond the limit as many names as `LEFT_OUT` has room for.

    `properties` makes the same of them as of all. Those named as an address are left out."""
    kept: dict[str, Any] = {}
    beyond = 0  # characters
    for key, value in props.items():
        name = text(key, _LONGEST_KEY)
        if _is_address(name):
            continue
        if len(kept) >= limits.props:
            if beyond > _LONGEST_PROP:
                break
            kept.setdefault(name, None)
            beyond += len(name) + 2
            continue
        kind = type(value)
        if kind is str:
            value = text(value, _LONGEST_PROP)
        elif kind is int:
            if not -_EXACT <= value <= _EXACT:  # type: ignore[operator]
                value = str(value)[:_LONGEST_PROP] if value.bit_length() < 4_000 else "a number too large"  # type: ignore[attr-defined]
        elif kind is not bool and value is not None:
            value = prop(value)
        kept[name] = value
    return kept


def _is_address(name: str) -> bool:
    """Return whether a property is named as the address of a visitor, which is never kept."""
    low = name.lower()
    if "ip" not in low and "addr" not in low and "forwarded" not in low:
        return False
    if "".join(filter(str.isalnum, low)) in _ADDRESSES:
        return True
    return _ENDS_IN_IP.search(name) is not None or _IP_ADDRESS.search(name) is not None


def _without_addresses(encoded: str) -> str:
    """Return JSON without the value of each member that is named as an address."""
    return _MEMBER.sub(lambda found: f'"{found[1]}":""' if _is_address(found[1]) else found[0], encoded)


def prop(value: object) -> PropValue:
    """Return one property's value: a scalar as it is, a list or an object as JSON text."""
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON knows neither NaN nor infinity
    if value is None or isinstance(value, bool) or (isinstance(value, int) and -_EXACT <= value <= _EXACT):
        return value
    if isinstance(value, list | dict):
        return _without_addresses(text(value, _MOST_JSON))[:_LONGEST_PROP]
    return text(value, _LONGEST_PROP)


def whole(value: object) -> int | None:
    """Return the whole number that a number or its digits are; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**63 else None
    return int(value.partition(".")[0]) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def number(value: object) -> int | float | None:
    """Return the finite number that a value or its text is; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value) if _DECIMAL.fullmatch(value) else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    return value


def worth(given: object, currency: object = "") -> Revenue | None:
    """Return what an event was worth; None if that is no amount. A text may have a currency's sign, and thousands and
    cents parted as any language does it; an object, amount and currency."""
    if isinstance(given, dict):
        currency = currency or given.get("currency", "")
        given = given.get("amount", given.get("value"))
    if isinstance(given, str):
        if number(given) is not None:  # as most are
            return Revenue(given.strip(), text(currency, 16))
        found = amount.read(given, text(currency, 16)) if len(given) <= _LONGEST_AMOUNT else None
        if found is None:
            return None
        plain = given.strip().lstrip("$€£¥ ").replace(" ", "")  # as it was sent, for ids are made of it
        return Revenue(*found) if number(plain) is None else Revenue(plain, text(currency, 16) or found[1])
    counted = number(given)
    return None if counted is None else Revenue(counted, text(currency, 16))


def taken_back(paid: Revenue) -> Revenue:
    """Return what was paid back, which is less than zero."""
    return Revenue("-" + str(paid.amount).lstrip("-"), paid.currency)


def search_of(term: object, results: object = None) -> Search | None:
    """Return a search; None if there is no term."""
    searched = text(term).strip()
    return Search(searched, whole(results)) if searched else None


def named_search(name: str, props: Mapping[str, object]) -> Search | None:
    """Return the search that a custom event tells of: it is named like one, and has a property with the term."""
    if name.lower() not in SEARCH_NAMES:
        return None
    by_name = {key.lower(): value for key, value in props.items() if isinstance(key, str)}
    term = next((by_name[key] for key in _TERM_NAMES if by_name.get(key) not in (None, "")), None)
    results = next((by_name[key] for key in _RESULT_NAMES if by_name.get(key) not in (None, "")), None)
    return search_of(term, results)


def screen_size(width: object, height: object) -> str:
    """Return the size of a screen, 1920x1080; "" without both. Apps tell it in parts of a point."""
    if type(width) is int and type(height) is int and 0 < width < 100_000 and 0 < height < 100_000:
        return f"{width}x{height}"
    sides = number(width), number(height)
    return f"{int(sides[0])}x{int(sides[1])}"[:32] if sides[0] and sides[1] else ""


def screen_url(name: object) -> str:
    """Return the address of an app's screen: its name as a path of the site; "" of one that has none."""
    return "/" + quote(named.lstrip("/"), safe="/") if (named := text(name, 512).strip()) else ""


def with_campaign(url: str, campaign: Mapping[str, object]) -> str:
    """Return an address with a campaign, by the names behind `utm_`, unless it has one itself."""
    if _CAMPAIGNS.search(url):
        return url
    found = {f"utm_{name}": text(value, 512) for name, value in campaign.items() if value}
    if not found:
        return url
    address, mark, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{urlencode(found)}{mark}{fragment}"[:4096]


def seconds(value: object) -> int | None:
    """Return Unix milliseconds for Unix seconds, with or without a fraction; None for what is no number."""
    found = number(value)
    return None if found is None else round(found * 1_000)


def since_1970(value: object) -> int | float | str | None:
    """Return Unix milliseconds for Unix seconds or, as some clients send, milliseconds; all else as `moment` does."""
    at = seconds(value)
    if not at:
        return moment(value) if at is None else None
    known = at if at < times.MILLIS[1] else number(moment(value))
    return text(value, 64) if known is None else int(known)


def object_in(value: object) -> dict[str, Any] | None:
    """Return an object, or the one that a text holds as JSON; None of anything else."""
    if type(value) is dict:
        return value
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = msgspec.json.decode(value.encode("utf-8", "replace"))
        except (msgspec.DecodeError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def listed(value: Any) -> Any:
    """Return a list where one is meant: PHP writes one with gaps as an object, {"0": …, "2": …}. Else what it is."""
    if isinstance(value, dict) and value and all(isinstance(key, str) and key.isdigit() for key in value):
        return [*value.values()]
    return value


def obj(value: object) -> dict[str, Any]:
    """Return a value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def from_json(body: bytes, limits: Limits) -> Any:
    """Return what JSON holds, or the `Refusal` of what is none or too large. Lone surrogates become U+FFFD; a line that
    ends within a text, and what C puts behind one, are let pass."""
    if len(body) > limits.body_bytes:
        return too_large(len(body), limits.body_bytes)
    try:
        found = msgspec.json.decode(body)
        return found if type(found) is not str else _written_twice(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    content = body.decode("utf-8", "replace").strip("\ufeff\0")
    if not content.strip():
        return Refusal(0, Reason.MALFORMED, "the body is empty: send JSON")
    try:
        return valid(json.loads(content, strict=False))
    except (ValueError, RecursionError) as error:
        return Refusal(0, Reason.MALFORMED, f"the body is not JSON ({error}): mend it, and send it again")


def _written_twice(content: str) -> Any:
    """Return what a text holds that is JSON itself, else the text."""
    try:
        return msgspec.json.decode(content.encode("utf-8", "replace")) if content.strip()[:1] in ("{", "[") else content
    except (msgspec.DecodeError, RecursionError):
        return content


def too_large(length: int, longest: int, what: str = "the body") -> Refusal:
    """Return the refusal of what is too large; both lengths in bytes."""
    return Refusal(0, Reason.TOO_LARGE, f"{what} has {length} bytes and may have {longest}: send fewer events in each")


def too_many(count: int, most: int) -> Refusal:
    """Return the refusal of a request with too many events."""
    detail = f"{count} events in one request and at most {most} are taken: send them in several requests"
    return Refusal(0, Reason.TOO_MANY, detail)


def valid(value: Any) -> Any:
    """Return a value with lone surrogates replaced in all its texts, and in the names of an object's members.

    Raises RecursionError for what is nested too deeply."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {valid(name): valid(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [valid(inner) for inner in value]
    return value


def _is_clean(value: str) -> bool:
    if "\0" in value:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _clean(value: str) -> str:
    return str(valid(value.replace("\0", "")))


def _as_json(value: object) -> str:
    try:
        try:
            return msgspec.json.encode(value).decode()
        except UnicodeEncodeError:
            return msgspec.json.encode(valid(value)).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return f"a {type(value).__name__} that is nested too deeply or too large"


def moment(value: object) -> int | float | str | None:
    """Return a time as `incoming.time_of` reads it; None where none is known. What is no time stays, to be refused."""
    if value is None:
        return None
    if type(value) is str:
        # ISO 8601 is what most send; behind it may stand a zone's name or UTC.
        is_iso = value[10:11] == "T" and value[:2] == "20" and value[-1] not in "]C\0"
        if is_iso and len(value) < 65 and value.isascii():
            return value
        held = object_in(value) if value[:1] == "{" and len(value) <= _LONGEST_KEY else None
        if held is None:
            return times.of_text(text(value, 64))
        value = held
    if type(value) is int and times.MILLIS[0] <= value < times.MILLIS[1]:
        return value
    if isinstance(value, dict) and not isinstance(meant := times.of_object(value), dict):
        return moment(meant)
    counted = number(value)
    found = text(value, 64) if counted is None else times.of_number(counted)
    return text(value, 64) if isinstance(found, int | float) and not -_EXACT <= found <= _EXACT else found
