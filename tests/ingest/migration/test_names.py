"""What exports call things, each by the name that it has here: one thing is one row of a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.migration import names
from ingest.migration.address import host_of_referrer, page_of, with_query, with_tags
from ingest.migration.countries import country_code
from ingest.migration.export import Left
from ingest.migration.totals import Total
from tests.ingest.migration import exports
from tests.ingest.migration.exports import exported, taken

BROWSERS = {
    "Chrome": "Chrome", "chrome": "Chrome", "Chrome Mobile iOS": "Chrome", "MICROSOFT EDGE": "Edge", "Edge": "Edge",
    "Mobile Safari": "Safari", "Internet Explorer": "IE", "Android Webview": "Chrome WebView",
    "Mobile App": "Mobile App",
    "(not set)": "", "Unknown": "", "UNK": "", "": "",
}  # fmt: skip
SYSTEMS = {
    "GNU/Linux": "Linux", "Mac": "macOS", "Mac OS X": "macOS", "Macintosh": "macOS", "iPadOS": "iOS",
    "ChromeOS": "Chrome OS", "windows": "Windows", "FreeBSD": "FreeBSD", "(not set)": "", "unknown": "",
}  # fmt: skip
DEVICES = {"Laptop": "desktop", "desktop": "desktop", "Smartphone": "mobile", "Smart TV": "tv", "smarttv": "tv",
           "Tablet": "tablet", "Wearable": "", "(not set)": ""}  # fmt: skip
COUNTRIES = {"de": "DE", "DE": "DE", "xx": "", "XX": "", "": "", "Unknown": "", "Germany": "DE", "UK": "GB",
             "Atlantis": "Atlantis"}
TOLD_APART = {
    "Congo, Democratic Republic of": "CD", "Congo, Democratic Republic of the": "CD", "Congo, Republic of": "CG",
    "Congo, Other of": "", "China, Republic of": "TW", "China, People\u2019s Republic of": "CN",
    "Korea, Republic of": "KR", "Korea, Democratic People's Republic of": "KP", "Taiwan, Province of China": "TW",
    "The Democratic Republic of the Congo": "CD", "Iran, Islamic Republic of": "IR", "Moldova, Republic of": "MD",
}  # fmt: skip
REGIONS = {("DE-BE", "DE"): "DE-BE", ("us-ca", "US"): "US-CA", ("j", "AR"): "AR-J", ("CA", ""): "CA", ("", "DE"): "",
           ("Bavaria", "DE"): "Bavaria", ("Unknown", "DE"): ""}  # fmt: skip
SOURCES = {"google": "google.com", "Google": "google.com", "m.facebook.com": "facebook.com", "news": "news",
           "(direct)": "", "Direct / None": "", "(not set)": "", "": ""}  # fmt: skip
PAGES = {
    "/": "/", "": "/", "about": "/about", "/about": "/about", "/a?b=1": "/a", "/a#top": "/a", "/a?b=1#top": "/a",
    "/#/about": "/#/about", "/#!about": "/#!about", "https://a.example/about?x=1": "/about", "https://a.example": "/",
    "/x://y": "/x://y", "http://[bad/x": "/http://%5Bbad/x", "/caf%c3%a9": "/caf%C3%A9", "(not set)": "", "(other)": "",
}  # fmt: skip
REFERRERS = {"google.com/search": "google.com", "https://www.google.com/": "google.com", "Direct / None": "", "": "",
             "android-app://com.linkedin.android": "com.linkedin.android"}  # fmt: skip


def test_names() -> None:
    assert {text: names.browser_of(text) for text in BROWSERS} == BROWSERS
    assert {text: names.system_of(text) for text in SYSTEMS} == SYSTEMS
    assert {text: names.device_of(text) for text in DEVICES} == DEVICES
    assert {text: names.country_of(text) for text in COUNTRIES} == COUNTRIES
    assert {each: names.region_of(*each) for each in REGIONS} == REGIONS
    assert [names.language_of(text) for text in ("en-us", "de", "zh-Hans", "")] == ["en-US", "de", "zh-Hans", ""]
    assert {text: names.source_of(text).source for text in SOURCES} == SOURCES


def test_countries_that_share_a_name() -> None:
    assert {text: country_code(text) for text in TOLD_APART} == TOLD_APART


def test_addresses() -> None:
    assert {text: page_of(text) for text in PAGES} == PAGES
    assert {text: host_of_referrer(text).removeprefix("www.") for text in REFERRERS} == REFERRERS


def test_tags_stand_before_a_fragment() -> None:
    tags = {"utm_source": "a b", "utm_term": ""}
    assert with_tags("https://a.example/x#top", tags) == "https://a.example/x?utm_source=a+b#top"
    assert with_tags("https://a.example/x?y=1", tags) == "https://a.example/x?y=1&utm_source=a+b"
    assert (with_tags("/x#y", {}), with_query("/x", "")) == ("/x#y", "/x")


EDITED = {
    "imported_devices": ("device", ["Laptop", "laptop", "desktop"], {"desktop": 3}),
    "imported_browsers": ("browser", ["chrome", "Chrome", "(not set)", ""], {"Chrome": 2, "": 2}),
    "imported_operating_systems": ("operating_system", ["Mac", "Mac OS X", "GNU/Linux"], {"macOS": 2, "Linux": 1}),
    "imported_pages": ("page", ["/a", "a", "/a?x=1", "https://a.example/a"], {"/a": 4}),
    "imported_locations": ("country", ["DE", "de", "XX", ""], {"DE": 2, "": 2}),
}


@pytest.mark.parametrize("file", EDITED)
def test_a_list_of_plausible_has_one_row_of_one_thing(tmp_path: Path, file: str) -> None:
    column, values, wanted = EDITED[file]
    text = f"date,{column},visitors,visits,pageviews\n" + "".join(f"2024-05-01,{each},1,1,1\n" for each in values)
    found: dict[str, int] = {}
    for total in exported(tmp_path, "plausible", {f"{file}.csv": text}).rows():
        found[total.rows[0].value] = found.get(total.rows[0].value, 0) + total.rows[0].visitors
    assert found == wanted


def test_names_that_somebody_gave_may_be_unknown(tmp_path: Path) -> None:
    given = ["unknown", "Undefined", "null", "spring"]
    for column, number in (("Session campaign", "Sessions"), ("Event name", "Event count")):
        lines = [f"20240501,{each},1\n" for each in ("(direct)", *given, "(not set)", "(other)", "")]
        text = f"Date,{column},{number}\n" + "".join(lines)
        rows = list(exported(tmp_path, "ga4", {f"{number}.csv": text}).rows())
        found = [row.rows[0].value for row in rows if isinstance(row, Total)]
        assert found == given if number == "Sessions" else ["(direct)", *given]
        assert {row.reason for row in rows if isinstance(row, Left)} == {"not_set"}
    events = "date,name,visitors,events\n" + "".join(f"2024-05-01,{each},1,1\n" for each in given)
    rows = exported(tmp_path, "plausible", {"imported_custom_events.csv": events}).rows()
    assert [row.rows[0].value for row in rows] == given


def test_a_region_of_plausible_without_its_country(tmp_path: Path) -> None:
    text = "date,country,region,visitors\n2024-05-01,,US-CA,2\n2024-05-01,de,be,1\n"
    first, second = exported(tmp_path, "plausible", {"imported_locations.csv": text}).rows()
    assert [row[:3] for row in first.rows] == [("country", "", 2), ("region", "US-CA", 2)]
    assert [row[:3] for row in second.rows] == [("country", "DE", 1), ("region", "DE-BE", 1)]


def test_what_is_no_visit_and_no_event_of_plausible(tmp_path: Path) -> None:
    pages = "date,hostname,page,visitors,pageviews,exits,time_on_page\n2024-05-01,a.example,/a,6,7,2,30\n"
    events = "date,name,visitors,events\n2024-05-01,,1,2\n2024-05-01, Signup ,1,3\n"
    files = {"imported_pages.csv": pages, "imported_custom_events.csv": events}
    page, nothing, signup = exported(tmp_path, "plausible", files).rows()
    assert page.rows[0][:4] == ("page", "/a", 6, 0)  # exits are of other visits, too
    assert (nothing.reason, signup.rows[0].value) == ("not_set", "Signup")


_APP = "date,source,referrer,visitors,visits\n2024-05-01,LinkedIn,android-app://com.linkedin.android,2,3\n"


def test_a_source_of_plausible_by_an_app(tmp_path: Path) -> None:
    (total,) = exported(tmp_path, "plausible", {"imported_sources.csv": _APP}).rows()
    assert [row[:3] for row in total.rows] == [("source", "linkedin.com", 2), ("channel", "Organic Social", 2)]


def test_umami_in_whatever_case(tmp_path: Path) -> None:
    sessions = exports.UMAMI_SESSIONS.replace("Windows 10,laptop", "windows 10,Laptop")
    sessions = sessions.replace("US,US-CA", "us,us-ca")
    sessions = sessions.replace("ios,iOS,mobile", "unknown,unknown,smarttv")
    files = {"website_event.csv": exports.UMAMI_EVENTS, "session.csv": sessions}
    _, (first, *_, last) = taken(list(exported(tmp_path, "umami", files).rows()))
    assert (first.os, first.os_version, first.device, first.region) == ("Windows", "10", "desktop", "US-CA")
    assert (last.browser, last.os, last.device) == ("", "", "tv")


_GOATCOUNTER = """\
2Path,Title,Event,Session,Bot,Referrer,Referrer scheme,Screen size,Location,Date
/a#x,,false,s1,0,news,c,1440x900,us-tx,2024-05-01T12:00:00Z
/#/b,,false,s1,0,news,c,,,2024-05-01T12:00:01Z
"""


def test_a_campaign_of_goatcounter_and_a_fragment(tmp_path: Path) -> None:
    _, (first, second) = taken(list(exported(tmp_path, "goatcounter", {"a.csv": _GOATCOUNTER}).rows()))
    assert (first.path, first.source, first.device, first.region) == ("/a", "news", "desktop", "US-TX")
    assert (second.path, second.source) == ("/#/b", "news")
