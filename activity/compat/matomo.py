"""Matomo's tracking API: parameters in a query or a form, or many such queries in JSON.

One request is one action: what it is follows from the parameters that it has. The protocol has no id of an event. A
request sent again is known by its random number (`rand`, `r`) together with the page view or visitor, or else by `cdt`,
and an order by its number.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from activity.compat.forms import form as fields_of
from activity.compat.forms import parameters
from activity.compat.parts import GIF, key_in
from activity.compat.protocol import (
    Answer,
    Outcome,
    Protocol,
    Route,
    Tracked,
    TrackerBatch,
    TrackerRequest,
    encoded,
    leaving_out,
    refused,
    worst,
)
from activity.compat.tables.matomo import CONTENT, EVENT, FIELDS, NOTES, ORDER, OWN, PRODUCT
from activity.compat.values import (
    from_json,
    listed,
    number,
    obj,
    screen_url,
    search_of,
    since_1970,
    text,
    too_many,
    tracked,
    who,
    whole,
    with_campaign,
    worth,
)
from activity.event import EventType
from activity.incoming import Incoming, Limits, Search
from activity.refusal import Reason, Refusal

_DIMENSION = re.compile(r"dimension\d{1,4}", re.ASCII)
_ABOUT = b"Events of Matomo's tracking API are taken here.\n"
_LONGEST_AGO = 20 * 365 * 86_400  # seconds
_OF_PLUGINS = frozenset(("ma_id", "fa_vid", "fa_pv", "hsr_vid", "cra"))  # films, forms, heat maps, crashes
# Below a folder, too, as most have it.
_PATHS = tuple(f"{folder}/{name}.php" for folder in ("", "/matomo", "/piwik") for name in ("matomo", "piwik"))
_YES = ("1", "true")
_COUNT_IN_URL = re.compile(r"[?&#]search_count=(\d{1,9})(?=[&#]|$)", re.ASCII)
_NOT_FOUND = "404/URL"  # how Matomo has the title of a missing page begin

Given = dict[str, Any]


class _Made(NamedTuple):
    """What a request amounts to besides what all of them have."""

    kind: EventType
    name: str = ""
    props: dict[str, object] = {}
    more: dict[str, Any] = {}  # further arguments of `tracked`


def read(request: TrackerRequest, limits: Limits) -> TrackerBatch | Answer:
    """Read the actions of a request. Never raises."""
    given: Any = parameters(request.query, limits)
    if isinstance(given, Refusal):
        return refused(given)
    if request.path.startswith("/js") and not given and not request.body:
        return Answer(404, b"matomo.js is not served here: load it from where it is.\n", b"text/plain")
    body = request.body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if body[:1] in (b"{", b"["):
        return _read_many(body, given, request, limits)
    if body:
        form = fields_of(body.removeprefix(b"?"), limits)
        if isinstance(form, Refusal):
            return refused(form, _key(given, request))
        given = {**form, **given}
        if form.get("requests", "")[:1] == "[" and "rec" not in given:
            return _read_many(form["requests"].encode("utf-8", "replace"), given, request, limits)
    if not given:
        if request.method == "GET":
            return Answer(200, _ABOUT, b"text/plain")
        return refused(Refusal(0, Reason.MALFORMED, "the request is empty: send idsite=…&rec=1&url=…"))
    item = _event(0, given, request, limits)
    form_of_answer = "empty" if given.get("send_image") in ("0", "false") else "gif"
    return TrackerBatch(sent_at=None, items=[item], credential=_key(given, request), form=form_of_answer)


def _read_many(body: bytes, query: Given, request: TrackerRequest, limits: Limits) -> TrackerBatch:
    whole_body = from_json(body, limits)
    if isinstance(whole_body, Refusal):
        return refused(whole_body, _key(query, request), "bulk")
    is_one = "rec" in obj(whole_body) and "requests" not in whole_body
    if isinstance(whole_body, list) or is_one:  # without the object around them
        whole_body = {"requests": whole_body if isinstance(whole_body, list) else [whole_body]}
    whole_body = obj(whole_body)
    sent = listed(whole_body.get("requests"))
    credential = _key({**query, **whole_body}, request)
    if not isinstance(sent, list):
        detail = '`requests` is missing: send {"requests": ["?idsite=…&rec=1&url=…"]}'
        return refused(Refusal(0, Reason.MISSING_FIELD, detail), credential, "bulk")
    if len(sent) > limits.events:
        return refused(too_many(len(sent), limits.events), credential, "bulk")
    items: list[Incoming | Refusal] = []
    blank = [place for place, each in enumerate(sent) if each == ""]  # what a list that ends in a comma becomes
    if len(blank) == len(sent):
        blank = []
    elif blank:
        sent = [each for each in sent if each != ""]
    for index, each in enumerate(sent):
        given: Any = each
        if isinstance(each, str):
            given = parameters(each.partition("?")[2] or each, limits)
        if isinstance(given, Refusal):
            items.append(Refusal(index, given.reason, given.detail))
        elif isinstance(given, dict):
            credential = credential or text(given.get("token_auth"), 512)
            items.append(_event(index, given, request, limits))
        else:
            detail = "a request of `requests` is neither a text nor an object: send its parameters"
            items.append(Refusal(index, Reason.UNKNOWN_FIELD_TYPE, detail))
    silent = "send_image" in whole_body and text(whole_body["send_image"]) in ("0", "false", "")
    form = "empty" if silent else leaving_out("bulk", blank)
    return TrackerBatch(sent_at=None, items=items, credential=credential, form=form)


def answer(outcome: Outcome) -> Answer:
    """Return what Matomo's clients look at: a status, and the counts of many requests."""
    good = outcome.taken > 0 or all(refusal.reason is Reason.OPTED_OUT for refusal in outcome.refused)
    large = any(refusal.reason is Reason.TOO_LARGE for refusal in outcome.refused)
    status = 200 if good else 413 if large else 400
    if outcome.form.startswith("bulk"):
        content: dict[str, object] = {
            "status": "success" if good else "error",
            "tracked": outcome.taken,
            "invalid": len(outcome.refused),
            "invalid_indices": outcome.places,
        }
        if outcome.refused:
            content["message"] = worst(outcome)
        return Answer(status, encoded(content))
    if not good:
        return Answer(status, worst(outcome).encode(), b"text/plain; charset=utf-8")
    return Answer(204) if outcome.form == "empty" else Answer(200, GIF, b"image/gif")


def _key(given: Given, request: TrackerRequest) -> str:
    return text(given.get("token_auth"), 512) or key_in(request.headers)


def _event(index: int, given: Given, request: TrackerRequest, limits: Limits) -> Tracked | Refusal:
    if text(given.get("rec"), 8).strip() not in _YES:
        return Refusal(index, Reason.MISSING_FIELD, "`rec` is missing: send rec=1 with what is to be counted")
    url = text(given.get("url")) or request.headers.get(b"referer", b"")[:4096].decode("latin-1")
    made = _made(given)
    props = made.props | {name: value for name, value in given.items() if _is_dimension(name)}
    for name in ("cvar", "_cvar"):
        if name in given:
            props |= _variables(given[name], limits)
    props |= _named(given, PRODUCT)
    if not url and made.kind is EventType.PAGEVIEW:
        if "action_name" not in given:
            return Refusal(index, Reason.MISSING_FIELD, "`url` is missing: send the page's address")
        url = screen_url(given["action_name"])
    more = made.more
    if "search_count=" in url and made.kind is EventType.PAGEVIEW and (count := _COUNT_IN_URL.search(url)):
        more = {"search": Search("", int(count[1]))}  # of the term that the address has
    if url and given.get("_rcn") and "_refts" not in given:  # of an app; a page's is of a visit that may be over
        url = with_campaign(url, {"campaign": given["_rcn"], "term": given.get("_rck")})
    client = who(given.get("cid"), 256) or who(given.get("_id"), 256)
    ts = _time(given.get("cdt"))
    return tracked(
        made.kind,
        limits,
        site=given.get("idsite"),
        url=url,
        referrer=given.get("urlref"),
        title=given.get("action_name"),
        name=made.name,
        props=props,
        id=_id(given, client),
        ts=ts if ts is None or isinstance(ts, str) else ts - _ago(given),
        ago_ms=_ago(given) if ts is None else 0,
        user=given.get("uid"),
        screen=given.get("res"),
        language=text(given.get("lang"), 256).partition(",")[0].partition(";")[0].strip(),
        client=client or given.get("uid"),
        address=given.get("cip"),
        agent=given.get("ua"),
        **more,
    )


def _id(given: Given, client: str) -> str | None:
    """Return what is the same when a request is sent again, and of no other request; None if nothing is."""
    if text(given.get("idgoal"), 8) == "0" and (order := text(given.get("ec_id"), 100)):
        return f"order {order}|{client}"  # a page of thanks that is loaded again tells of the same order
    chance = text(given.get("rand"), 64) or text(given.get("r"), 64)
    others = [text(given.get(name), 64) for name in ("pv_id", "cdt")]
    if not chance or not (client or any(others)):
        return None
    return "|".join((chance, client, *others, *(text(given.get(name), 4) for name in ("h", "m", "s"))))


def _time(cdt: object) -> int | float | str | None:
    """Return Unix milliseconds, and a text of a day and time as it is, which is in UTC."""
    if cdt is None or cdt == "":
        return None
    return since_1970(cdt)


def _ago(given: Given) -> int:
    """Return how many milliseconds before its sending a request was made, for one that waited."""
    return min(abs(whole(given.get("cdo")) or 0), _LONGEST_AGO) * 1_000


def _made(given: Given) -> _Made:
    if "ping" in given and text(given["ping"], 8) in _YES:
        return _Made(EventType.ENGAGEMENT)
    action = given.get("e_a") or given.get("e_c")
    if action and (action := text(given.get("e_a"), 128).strip() or text(given.get("e_c"), 128).strip()):
        props = _named(given, EVENT)
        if given.get("e_v") not in (None, ""):
            props["value"] = _as_number(given["e_v"])
        return _Made(EventType.CUSTOM, action, props)
    if given.get("download"):
        return _Made(EventType.DOWNLOAD, props={"url": given["download"]})
    if given.get("link"):
        return _Made(EventType.OUTBOUND, props={"url": given["link"]})
    if found := search_of(given.get("search"), _count(given.get("search_count"))):
        return _Made(EventType.SEARCH, props=_named(given, {"search_cat": "category"}), more={"search": found})
    if (goal := text(given.get("idgoal"), 64)) and goal != "-1":
        return _bought(given) if goal == "0" else _reached(given, goal)
    if given.get("c_n"):
        interacted = bool(given.get("c_i"))
        name = "content_interaction" if interacted else "content_impression"
        return _Made(EventType.CUSTOM, name, _named(given, CONTENT), {"interactive": interacted})
    # Plug-ins tell of films, forms and crashes; older ones without `ca`. A page view has a name, if only an empty one.
    if text(given.get("ca"), 8) in _YES or ("action_name" not in given and not _OF_PLUGINS.isdisjoint(given)):
        props = {name: value for name, value in given.items() if name not in OWN and not _is_dimension(name)}
        return _Made(EventType.CUSTOM, "custom_action", props, {"interactive": False})
    if text(given.get("action_name"), 512).startswith(_NOT_FOUND):
        return _Made(EventType.NOT_FOUND)
    return _Made(EventType.PAGEVIEW)


def _reached(given: Given, goal: str) -> _Made:
    return _Made(EventType.CUSTOM, f"goal {goal}", {"goal": goal}, {"revenue": worth(given.get("revenue"))})


def _bought(given: Given) -> _Made:
    """Return an order; without a number of its own it is what lies in the cart, which nobody has paid for."""
    props = _named(given, ORDER)
    if given.get("ec_items"):
        props["items"] = given["ec_items"]
    if given.get("ec_id"):
        return _Made(EventType.CUSTOM, "order", props, {"revenue": worth(given.get("revenue"))})
    if given.get("revenue"):
        props["value"] = _as_number(given["revenue"])
    return _Made(EventType.CUSTOM, "cart", props)


def _is_dimension(name: str) -> bool:
    return name.startswith("dimension") and _DIMENSION.fullmatch(name) is not None


def _variables(value: object, limits: Limits) -> dict[str, object]:
    """Return custom variables, {"1": ["name", "value"]} as JSON text or parsed."""
    parsed = from_json(value.encode("utf-8", "replace"), limits) if isinstance(value, str) else value
    pairs = parsed.values() if isinstance(parsed, dict) else parsed if isinstance(parsed, list) else []
    return {text(each[0], 128): each[1] for each in pairs if isinstance(each, list) and len(each) == 2}


def _count(value: object) -> int | None:
    found = whole(value)
    return found if found is not None and found >= 0 else None


def _named(given: Given, names: dict[str, str]) -> dict[str, object]:
    return {name: given[key] for key, name in names.items() if given.get(key) not in (None, "")}


def _as_number(value: object) -> object:
    found = number(value)
    return value if found is None else int(found) if float(found).is_integer() else found


PROTOCOL = Protocol(
    name="matomo",
    title="Matomo",
    routes=tuple(
        Route(path, ("GET", "POST"))
        for path in (*_PATHS, "/js", "/js/index.php", "/js/tracker.php")
    ),
    read=read,
    answer=answer,
    heeds=(b"referer",),
    fields=FIELDS,
    notes=NOTES,
)
