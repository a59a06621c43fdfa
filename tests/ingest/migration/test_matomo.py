"""What people have of Matomo: its dumps and its API's answers, each with what it comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.logs.files import ImportFailed
from tests.ingest.migration import exports
from tests.ingest.migration.exports import actions, exported, numbers, taken

_VISIT: dict[str, Any] = exports.MATOMO_API[0]
_OTHER: dict[str, Any] = _VISIT | {
    "idVisit": "8", "visitorId": "fedcba9876543210", "userId": "", "referrerType": "direct", "referrerUrl": "",
    "actionDetails": [_VISIT["actionDetails"][0] | {"pageId": 9, "pageTitle": 'A "b", c; d', "timestamp": 1714640400}],
}  # fmt: skip


def _table(visits: list[dict[str, Any]], separator: str) -> str:
    """The visits as Matomo's CSV has them, whose columns are those of all visits."""
    rows = []
    for visit in visits:
        row = {name: value for name, value in visit.items() if name != "actionDetails"} | {"plugins": "pdf, java"}
        for index, action in enumerate(visit["actionDetails"]):
            row |= {f"actionDetails_{index}_{name}": value for name, value in action.items()}
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))

    def quoted(value: object) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if any(each in text for each in '",;' + separator) else text

    return "\n".join([separator.join(names), *(separator.join(quoted(row.get(n, "")) for n in names) for row in rows)])


def _xml(visits: list[dict[str, Any]]) -> str:
    def element(name: str, value: Any) -> str:
        inner = "".join(element("row", each) for each in value) if isinstance(value, list) else value
        inner = "".join(element(key, each) for key, each in value.items()) if isinstance(value, dict) else inner
        return f"<{name}>{inner}</{name}>\n" if inner not in ("", None) else f"<{name} />\n"

    rows = "".join(element("row", visit | {"pluginsIcons": [{"pluginName": "pdf"}]}) for visit in visits)
    return f'<?xml version="1.0" encoding="utf-8" ?>\n<result>\n{rows}</result>'


ANSWERS: dict[str, str | bytes] = {
    "json": json.dumps([_VISIT, _OTHER]),
    "json by day": json.dumps({"2024-05-01": [_VISIT], "2024-05-02": [_OTHER], "2024-05-03": []}),
    "csv": "\ufeff".encode("utf-16-le") + _table([_VISIT, _OTHER], ",").encode("utf-16-le"),
    "tsv": _table([_VISIT, _OTHER], "\t"),
    "csv by day": "\n".join(
        f"{first},{line}"
        for first, line in zip(("date", "5-1", "5-2"), _table([_VISIT, _OTHER], ",").splitlines(), strict=True)
    ),
    "xml": _xml([_VISIT, _OTHER]),
}


@pytest.mark.parametrize("form", ANSWERS)
def test_matomos_answers_say_the_same(tmp_path: Path, form: str) -> None:
    batch, events = taken(list(exported(tmp_path, "matomo", {"answer": ANSWERS[form]}).rows()))
    assert (len(batch.accepted), batch.refused, batch.not_understood) == (5, {"action_type": 1}, [])
    (tmp_path / "json").mkdir()
    _, as_json = taken(list(exported(tmp_path / "json", "matomo", {"answer": ANSWERS["json"]}).rows()))
    assert events == as_json
    assert events[-1].title == 'A "b", c; d'


def test_a_dump_and_an_answer_have_the_same_ids(tmp_path: Path) -> None:
    dump = actions(list(exported(tmp_path, "matomo", {"dump.sql": exports.MATOMO_DUMP}).rows()))
    visits = actions(list(exported(tmp_path, "matomo", {"answer.json": ANSWERS["json"]}).rows()))
    assert [row.event["id"] for row in dump[:4]] == [row.event["id"] for row in visits[:4]]  # idlink_va is pageId


def test_what_matomo_writes_before_a_formula_is_left_out(tmp_path: Path) -> None:
    text = _table([_OTHER], ",").replace('"A ""b"", c; d"', "'=1+1")
    ((action,)) = actions(list(exported(tmp_path, "matomo", {"a.csv": text}).rows()))
    assert action.event["title"] == "=1+1"


_BEHIND_VISIT = "'2024-05-01 12:00:00',NULL,NULL,NULL,NULL)"
OTHER_ANSWERS = {
    "columns that are not those of rows": (_table([_VISIT], ",") + ",x", "no visit in it: line 2: column"),
    "no days": ('{"nb_visits": 1}', "ask Matomo with period=day and a range of days"),
    "an error": ('{"result": "error", "message": "no access"}', "Matomo's answer is: no access"),
    "an error as xml": ('<?xml version="1.0"?><result><error message="bad token" /></result>', "answer is: bad token"),
    "no data": ("No data available", "answer is: No data available"),
    "no visits": ("[]", "there is no visit in it"),
    "translated": ("Visit ID,Visitor ID,Type (actionDetails 0)\n1,2,3\n", "translateColumnNames=0"),
    "entities": ('<!DOCTYPE a [<!ENTITY b "cc">]><result><row>&b;</row></result>', "has a DOCTYPE"),
    "other xml": ("<rss><channel /></rss>", "<rss> is no answer of Matomo's API"),
    "a dump as xml": ('<?xml version="1.0"?>\n<mysqldump>\n', "leave out --xml"),
    "months": ('{"2024-05": {"nb_visits": 1}}', "'2024-05' is no day: ask Matomo with period=day"),
    "two installations": (
        exports.MATOMO_DUMP + exports.MATOMO_DUMP.replace(b"matomo_", b"old_"), "matomo_log_action and old_log_action",
    ),
    "no actions": (exports.MATOMO_DUMP.replace(b"_log_action`", b"_x`"), "no rows of log_action in the dump"),
    "no table of visits": (exports.MATOMO_DUMP.replace(b"_log_visit`", b"_x`"), "no rows of log_visit in the dump"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_ANSWERS)
def test_what_is_no_history_of_matomos_is_said_in_words(tmp_path: Path, name: str) -> None:
    content, words = OTHER_ANSWERS[name]
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "matomo", {"file": content}).rows())


def test_what_matomo_does_not_know_is_nothing(tmp_path: Path) -> None:
    unknown = dict.fromkeys(("browserName", "operatingSystemName", "deviceType", "city"), "Unknown")
    action = _VISIT["actionDetails"][0] | {"url": "example.com/x"}
    text = json.dumps([_VISIT | unknown | {"countryCode": "xx", "actionDetails": [action]}])
    (event,) = taken(list(exported(tmp_path, "matomo", {"a.json": text}).rows()))[1]
    assert (event.browser, event.os, event.device, event.country, event.city, event.path) == ("", "", "", "", "", "/x")


def test_an_xml_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    batch, _ = taken(list(exported(tmp_path, "matomo", {"a.xml": _xml([_VISIT, _OTHER])[:-300]}).rows()))
    assert (len(batch.accepted), [why[:18] for _, _, why in batch.not_understood]) == (4, ["the XML breaks off"])


def test_an_impression_of_content_is_no_page_view(tmp_path: Path) -> None:
    dump = exports.MATOMO_DUMP.replace(b"`search_cat` varchar", b"`idaction_content_name` int,\n  `search_cat` varchar")
    dump = dump.replace(b",NULL,NULL,NULL,NULL)", b",NULL,NULL,NULL,NULL,NULL)")
    dump = dump.replace(b",NULL,NULL,'all'", b",NULL,NULL,NULL,'all'")
    dump = dump.replace(b",6,5,NULL,NULL)", b",6,5,NULL,NULL,NULL)")
    dump = dump.replace(b"'2024-05-01 12:01:00',NULL,NULL,NULL", b"'2024-05-01 12:01:00',NULL,NULL,7")
    batch, events = taken(list(exported(tmp_path, "matomo", {"dump.sql": dump}).rows()))
    assert (batch.refused, [event.type for event in events].count("pageview")) == ({"action_type": 1}, 2)


DAYS = {
    "2024-05-01": {"nb_uniq_visitors": 10, "nb_visits": 12, "nb_actions": 40, "nb_pageviews": 30, "bounce_count": 6},
    "2024-05-02": [],
    "2024-05-03": {"nb_uniq_visitors": 5, "nb_visits": 5, "nb_actions": 6, "nb_pageviews": 6, "bounce_count": "x"},
}
_DAYS_CSV = "date,nb_visits,nb_uniq_visitors,nb_pageviews\n2024-05-01,12,10,30\n".encode("utf-16")


def test_the_days_that_matomo_tells(tmp_path: Path) -> None:
    (one, other, broken) = exported(tmp_path, "matomo", {"days.json": json.dumps(DAYS)}).rows()
    assert one.metrics == ("visitors", "visits", "bounces", "pageviews", "events")
    assert [tuple(row)[2:] for row in one.rows] == [(10, 12, 6, 0, 30, 0), (0, 0, 0, 0, 30, 40)]
    assert (other.reason, broken.why) == ("no_visits", "bounce_count is 'x', no count")
    assert numbers(tmp_path, "matomo", {"days.csv": _DAYS_CSV}) == {"2024-05-01": [10, 12, 30]}


_SEARCH = {"referrerType": "search", "referrerUrl": "", "referrerKeyword": "Keyword not defined"}
_SPRING = {"referrerType": "campaign", "referrerName": "spring", "referrerUrl": ""}
CAME = {
    "a search by its name": (_SEARCH | {"referrerName": "Google"}, "", ("google.com", "Organic Search", "")),
    "a network by its name": (
        {"referrerType": "social", "referrerName": "Facebook", "referrerUrl": None}, "",
        ("facebook.com", "Organic Social", "")),
    "a website by its name": (
        {"referrerType": "website", "referrerName": "blog.example.net", "referrerUrl": ""}, "",
        ("blog.example.net", "Referral", "")),
    "direct": ({"referrerType": "direct", "referrerName": "", "referrerUrl": ""}, "", ("", "Direct", "")),
    "a campaign before a fragment": (_SPRING, "?a=b#top", ("spring", "Referral", "spring")),
    "the plug-in's columns": (
        _SPRING | {"campaignName": "spring", "campaignSource": "newsletter", "campaignMedium": "email"}, "",
        ("newsletter", "Email", "spring")),
    "tags that are there": (_SPRING, "?mtm_campaign=own&mtm_source=own.example", ("own.example", "Referral", "own")),
    "a campaign of its own tag": (_SPRING, "?mtm_campaign=spring", ("spring", "Referral", "spring")),
    "a campaign of its former tag": (_SPRING, "?pk_campaign=spring", ("spring", "Referral", "spring")),
    "a tag that says nothing": (_SPRING, "?mtm_group=a&MTM_Source=", ("spring", "Referral", "spring")),
    "one tag that lacks": (
        _SPRING | {"campaignMedium": "email"}, "?utm_source=own.example", ("own.example", "Email", "spring")),
    "a network by its name, and a tag": (
        {"referrerType": "social", "referrerName": "Facebook", "referrerUrl": None}, "?mtm_group=a",
        ("facebook.com", "Organic Social", "")),
}  # fmt: skip


@pytest.mark.parametrize("name", CAME)
def test_where_a_visit_came_from(tmp_path: Path, name: str) -> None:
    of, address, wanted = CAME[name]
    page = {"type": "action", "url": f"https://example.com/{address}", "timestamp": 1714564800, "pageId": 1}
    visit = {**exports.MATOMO_API[0], **of, "actionDetails": [page]}
    _, (event,) = taken(list(exported(tmp_path, "matomo", {"v.json": json.dumps([visit])}).rows()))
    assert (event.source, event.channel, event.utm_campaign) == wanted
    assert event.path == "/"


def test_a_link_out_is_on_the_page_before(tmp_path: Path) -> None:
    link = {"type": "outlink", "url": "https://other.example/x", "timestamp": 1714564801, "pageId": 2}
    page = {"type": "action", "url": "https://example.com/blog", "timestamp": 1714564800, "pageId": 1}
    actions = [link | {"pageId": 0}, page, link, link | {"type": "download", "pageId": 3}]
    visit = {**exports.MATOMO_API[0], "actionDetails": actions}
    _, events = taken(list(exported(tmp_path, "matomo", {"v.json": json.dumps([visit])}).rows()))
    assert [(event.type, event.path) for event in events] == [
        ("outbound", "/"), ("pageview", "/blog"), ("outbound", "/blog"), ("download", "/blog"),
    ]  # fmt: skip


def test_the_campaign_of_a_dump_with_the_plug_in(tmp_path: Path) -> None:
    column = b"`user_id` varchar(200) DEFAULT NULL,"
    text = exports.MATOMO_DUMP.replace(column, column + b"\n  `campaign_source` varchar(255) DEFAULT NULL,")
    text = text.replace(b"`user_id`, `referer_name`", b"`user_id`, `campaign_source`, `referer_name`")
    text = text.replace(b"'ann','Google'", b"'ann',NULL,'Google'")
    text = text.replace(b"NULL,'spring',6", b"NULL,'mail','spring',6")
    _, events = taken(list(exported(tmp_path, "matomo", {"dump.sql": text}).rows()))
    assert (events[-1].utm_source, events[-1].utm_campaign, events[-1].utm_term) == ("mail", "spring", "shoes")
