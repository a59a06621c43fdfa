"""Small exports of other products, written by hand after the columns that they document, and what reads them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from activity import codec
from activity.enrich import SiteRules
from activity.event import Event
from infra.commands.migration import Exported
from ingest.logs.batch import Batch
from ingest.migration.daily import by_day
from ingest.migration.events import batches
from ingest.migration.export import Action, Read
from ingest.migration.members import members

SITE = "example.com"

Files = Mapping[str, str | bytes]

GOATCOUNTER = """\
2Path,Title,Event,UserAgent,Browser,System,Session,Bot,Referrer,Referrer scheme,Screen size,Location,FirstVisit,Date
/,Home,false,,Firefox 139,macOS 10.15,s1,0,www.google.com/,h,"1920,1080,1",US-TX,true,2024-05-01T12:00:00Z
/a?x=1,"A ""quoted""
title",false,,Firefox 139,macOS 10.15,s1,0,,,"1920,1080,1",US-TX,false,2024-05-01T12:00:30Z
/a?x=1,"A ""quoted""
title",false,,Firefox 139,macOS 10.15,s1,0,,,"1920,1080,1",US-TX,false,2024-05-01T12:00:30Z
signup,,true,,Firefox 139,macOS 10.15,s1,0,,,"1920,1080,1",US-TX,true,2024-05-01T12:01:00Z
/broken,short
/,,false,,,,s2,4,Some List,g,,DE,true,2024-05-02T09:00:00Z
/,,false,,,,s3,0,news,c,,DE,true,yesterday
"""

UMAMI_EVENTS = """\
website_id,session_id,visit_id,event_id,url_path,url_query,referrer_domain,referrer_path,page_title,event_type,event_name,created_at
w1,s1,v1,e1,/,,www.google.com,/search,Home,1,,2024-05-01 12:00:00
w1,s1,v1,e2,/pricing,plan=a,,,Pricing,1,,2024-05-01 12:01:00
w1,s1,v1,e3,/pricing,plan=a,,,Pricing,2,signup,2024-05-01 12:02:00
w1,s2,v2,e4,/,,,,Home,1,,2024-05-02 09:00:00
w1,s2,v2,e5,/,,,,Home,5,,2024-05-02 09:00:01
w1,,v2,e6,/,,,,Home,1,,2024-05-02 09:00:02
"""
UMAMI_SESSIONS = """\
session_id,website_id,browser,os,device,screen,language,country,subdivision1,city,created_at
s1,w1,edge-chromium,Windows 10,laptop,1920x1080,en-US,US,US-CA,San Jose,2024-05-01 12:00:00
s2,w1,ios,iOS,mobile,390x844,de-DE,DE,DE-BE,Berlin,2024-05-02 09:00:00
"""
UMAMI_DATA = """\
event_data_id,website_id,website_event_id,data_key,string_value,number_value,date_value,data_type,created_at
d1,w1,e3,plan,pro,,,1,2024-05-01 12:02:00
d2,w1,e3,seats,3,3.0000,,2,2024-05-01 12:02:00
"""


def umami_zip(path: Path) -> Path:
    """The export of a website as CSV files in a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (("website_event", UMAMI_EVENTS), ("session", UMAMI_SESSIONS), ("event_data", UMAMI_DATA)):
            archive.writestr(f"export/{name}.csv", text)
    return path


def _table(text: str) -> tuple[list[str], list[list[str]]]:
    names, *rows = (line.split(",") for line in text.splitlines())
    return names, rows


def umami_postgres() -> str:
    """The same as `pg_dump` writes it."""
    parts = ["--\n-- PostgreSQL database dump\n--\n\n"]
    for name, text in (("event_data", UMAMI_DATA), ("session", UMAMI_SESSIONS), ("website_event", UMAMI_EVENTS)):
        names, rows = _table(text)
        lines = ["\t".join(value or "\\N" for value in row) for row in rows]
        copy = f"COPY public.{name} ({', '.join(names)}) FROM stdin;"
        parts.append("\n".join([f"CREATE TABLE public.{name} (\n    x uuid\n);", copy, *lines, "\\.\n\n"]))
    return "".join(parts)


def umami_mysql() -> str:
    """The same as `mysqldump` writes it: the columns in `CREATE TABLE`, all rows in one statement."""
    parts = ["-- MySQL dump 10.13\n"]
    for name, text in (("event_data", UMAMI_DATA), ("session", UMAMI_SESSIONS), ("website_event", UMAMI_EVENTS)):
        names, rows = _table(text)
        columns = ",\n".join(f"  `{each}` varchar(500) DEFAULT NULL" for each in names)
        values = ",".join("(" + ",".join(f"'{value}'" if value else "NULL" for value in row) + ")" for row in rows)
        parts.append(f"CREATE TABLE `{name}` (\n{columns},\n  PRIMARY KEY (`{names[0]}`)\n) ENGINE=InnoDB;\n")
        parts.append(f"INSERT INTO `{name}` VALUES {values};\n")
    return "".join(parts)


MATOMO_DUMP = b"""-- MySQL dump 10.13  Distrib 8.0.36
CREATE TABLE `matomo_log_action` (
  `idaction` int unsigned NOT NULL AUTO_INCREMENT,
  `name` varchar(4096) DEFAULT NULL,
  `hash` int unsigned NOT NULL,
  `type` tinyint unsigned DEFAULT NULL,
  `url_prefix` tinyint DEFAULT NULL,
  PRIMARY KEY (`idaction`),
  KEY `index_type_hash` (`type`,`hash`)
) ENGINE=InnoDB;
INSERT INTO `matomo_log_action` VALUES (1,'example.com/',11,1,2),(2,'It\\'s home; (really)',12,4,NULL),
(3,'example.com/pricing',13,1,2),(4,'hats',14,8,NULL),(5,'forms',15,10,NULL),(6,'submit',16,11,NULL),
(7,'contact',17,12,NULL),(8,'other.example/x',18,2,2);
CREATE TABLE `matomo_log_link_visit_action` (
  `idlink_va` bigint unsigned NOT NULL AUTO_INCREMENT,
  `idsite` int unsigned NOT NULL,
  `idvisitor` binary(8) NOT NULL,
  `idvisit` bigint unsigned NOT NULL,
  `idaction_url_ref` int unsigned DEFAULT '0',
  `idaction_name_ref` int unsigned DEFAULT NULL,
  `custom_float` double DEFAULT NULL,
  `idaction_name` int unsigned DEFAULT NULL,
  `idaction_url` int unsigned DEFAULT NULL,
  `server_time` datetime NOT NULL,
  `idaction_event_action` int unsigned DEFAULT NULL,
  `idaction_event_category` int unsigned DEFAULT NULL,
  `search_cat` varchar(200) DEFAULT NULL,
  `search_count` int unsigned DEFAULT NULL,
  PRIMARY KEY (`idlink_va`)
) ENGINE=InnoDB;
INSERT INTO `matomo_log_link_visit_action` VALUES
(1,1,_binary '\\0\x01\\'\\\\abc)',7,0,NULL,NULL,2,1,'2024-05-01 12:00:00',NULL,NULL,NULL,NULL),
(2,1,_binary '\\0\x01\\'\\\\abc)',7,1,2,NULL,NULL,3,'2024-05-01 12:01:00',NULL,NULL,NULL,NULL),
(3,1,_binary '\\0\x01\\'\\\\abc)',7,3,2,NULL,4,NULL,'2024-05-01 12:02:00',NULL,NULL,'all',12),
(4,1,_binary '\\0\x01\\'\\\\abc)',7,3,2,2.5,7,3,'2024-05-01 12:03:00',6,5,NULL,NULL),
(5,1,_binary '\\0\x01\\'\\\\abc)',7,3,2,NULL,NULL,8,'2024-05-01 12:04:00',NULL,NULL,NULL,NULL),
(6,1,0x0102030405060708,8,0,NULL,NULL,2,1,'2024-05-02 09:00:00',NULL,NULL,NULL,NULL),
(7,1,0x0102030405060708,8,0);
CREATE TABLE `matomo_log_visit` (
  `idvisit` bigint unsigned NOT NULL,
  `idsite` int unsigned NOT NULL,
  `idvisitor` binary(8) NOT NULL,
  `user_id` varchar(200) DEFAULT NULL,
  `referer_name` varchar(255) DEFAULT NULL,
  `referer_type` tinyint unsigned DEFAULT NULL,
  `referer_url` varchar(1500) DEFAULT NULL,
  `referer_keyword` varchar(255) DEFAULT NULL,
  `location_browser_lang` varchar(20) DEFAULT NULL,
  `config_browser_name` varchar(40) DEFAULT NULL,
  `config_browser_version` varchar(20) DEFAULT NULL,
  `config_device_type` tinyint DEFAULT NULL,
  `config_os` char(3) DEFAULT NULL,
  `config_os_version` varchar(100) DEFAULT NULL,
  `config_resolution` varchar(18) DEFAULT NULL,
  `location_country` char(3) DEFAULT NULL,
  `location_region` char(3) DEFAULT NULL,
  `location_city` varchar(255) DEFAULT NULL
) ENGINE=InnoDB;
INSERT INTO `matomo_log_visit` (`idvisit`, `idsite`, `idvisitor`, `user_id`, `referer_name`, `referer_type`, \
`referer_url`, `referer_keyword`, `location_browser_lang`, `config_browser_name`, `config_browser_version`, \
`config_device_type`, `config_os`, `config_os_version`, `config_resolution`, `location_country`, `location_region`, \
`location_city`) VALUES (7,1,0x00,'ann','Google',2,'https://www.google.com/',NULL,'en-us','CH','141.0',0,'WIN','10',
'1920x1080','us','CA','San Jose');
INSERT INTO `matomo_log_visit` VALUES (8,1,0x00,NULL,'spring',6,NULL,'shoes','de','MF','17.1',1,'IOS','17.1',NULL,
'de','BE','Berlin');
"""  # fmt: skip
MATOMO_API: list[dict[str, Any]] = [
    {
        "idSite": "1", "idVisit": "7", "visitorId": "0123456789abcdef", "userId": "ann", "referrerType": "search",
        "referrerUrl": "https://www.google.com/", "browserName": "Chrome", "browserVersion": "141.0",
        "operatingSystemName": "Windows", "operatingSystemVersion": "10", "deviceType": "Desktop", "countryCode": "us",
        "regionCode": "CA", "city": "San Jose", "languageCode": "en-us", "resolution": "1920x1080",
        "actionDetails": [
            {"type": "action", "url": "https://example.com/", "pageTitle": "Home", "timestamp": 1714564800,
             "pageId": 1},
            {"type": "search", "url": "https://example.com/?q=hats", "siteSearchKeyword": "hats",
             "siteSearchCount": 12, "timestamp": 1714564860, "pageId": 2},
            {"type": "event", "url": "https://example.com/", "eventCategory": "forms", "eventAction": "submit",
             "eventName": "contact", "timestamp": 1714564920, "pageId": 3},
            {"type": "outlink", "url": "https://other.example/x", "timestamp": 1714564980, "pageId": 4},
            {"type": "goal", "timestamp": 1714564980},
        ],
    },
]  # fmt: skip


def _ga4(name: str, at: int, visitor: str = "1.2", **params: str | int) -> dict[str, Any]:
    given = [
        {"key": key, "value": {"int_value" if isinstance(value, int) else "string_value": str(value)}}
        for key, value in params.items()
    ]
    return {
        "event_date": "20240501", "event_timestamp": str(at * 1_000_000), "event_name": name, "event_params": given,
        "user_pseudo_id": visitor, "stream_id": "9", "platform": "WEB",
        "device": {"category": "desktop", "operating_system": "Macintosh",
                   "operating_system_version": "Macintosh 10.15", "language": "en-us",
                   "web_info": {"browser": "Chrome", "browser_version": "141.0.1", "hostname": "example.com"}},
        "geo": {"country": "United States", "region": "Texas", "city": "(not set)"},
    }  # fmt: skip


_HOME = {"page_location": "https://example.com/", "page_title": "Home", "ga_session_id": 1714564800}
GA4 = [
    _ga4("session_start", 1714564800, **_HOME),
    _ga4("page_view", 1714564800, page_referrer="https://www.google.com/", **_HOME),
    _ga4("page_view", 1714564800, page_referrer="https://www.google.com/", **_HOME),
    _ga4("view_search_results", 1714564860, search_term="hats", **_HOME),
    _ga4("sign_up", 1714564920, method="mail", seats=3, **_HOME),
    _ga4("click", 1714564980, link_url="https://other.example/x", **_HOME),
    _ga4("user_engagement", 1714564990, engagement_time_msec=5000, **_HOME),
    _ga4("page_view", 1714640400, visitor="3.4", **_HOME),
    _ga4("page_view", 1714640401, visitor="", **_HOME),
]
GA4_LINES = "".join(json.dumps(each) + "\n" for each in GA4) + "{broken\n"


def written(folder: Path, files: Mapping[str, str | bytes]) -> list[str]:
    """Write files; return their paths."""
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(folder / name) for name in files]


def read(product: str, *paths: str | Path, theirs: str = "") -> tuple[list[Read], list[str]]:
    """What the rows of an export say, and what was told of its files."""
    told: list[str] = []
    reader = import_module(f"ingest.migration.{product}")
    return list(reader.read(members([str(path) for path in paths]), SITE, theirs, told.append)), told


def actions(rows: list[Read]) -> list[Action]:
    """Those of which events are made."""
    return [row for row in rows if isinstance(row, Action)]


def taken(rows: list[Read]) -> tuple[Batch, list[Event]]:
    """What the rows come to, and the events of it, searches in addresses included."""
    (batch,) = batches(rows, SiteRules(SITE), b"key", 1_750_000_000_000, 10_000)
    its = batch.accepted.records(range(len(batch.accepted)))
    records = [own for own, *_ in its] + [search for _, *searches in its for search in searches]
    return batch, [codec.decode(record.value) for record in records]


PLAUSIBLE = {
    "imported_visitors": "date,visitors,pageviews,bounces,visits,visit_duration\n"
    "2023-02-09,119,304,77,134,21070\n2023-02-10,166,325,117,180,21467\n2023-02-11,x,1,1,1,1\n",
    "imported_pages": "date,hostname,page,visits,visitors,pageviews\n"
    "2023-02-09,example.com,/docs,8,8,9\n2023-02-10,example.com,/docs,5,5,5\n",
    "imported_sources": "date,source,referrer,utm_source,utm_medium,utm_campaign,utm_content,utm_term,pageviews,"
    "visitors,visits,visit_duration,bounces\n2023-02-09,Google,google.com,,,,,,70,23,25,8249,13\n"
    "2023-02-09,Direct / None,,,,,,,20,10,12,100,5\n2023-02-10,news,,news,email,spring,,,5,4,4,10,2\n",
    "imported_locations": "date,country,region,city,visitors,visits,visit_duration,bounces,pageviews\n"
    "2023-02-09,DE,DE-BE,2950159,7,9,10,4,12\n",
    "imported_devices": "date,device,visitors,visits,visit_duration,bounces,pageviews\n"
    "2023-02-09,Laptop,19,21,3545,11,36\n2023-02-09,Desktop,89,100,17385,56,251\n",
    "imported_browsers": "date,browser,browser_version,visitors,visits,visit_duration,bounces,pageviews\n"
    "2023-02-09,Microsoft Edge,111.0,1,1,987,0,3\n2023-02-09,Chrome,109.0,54,60,6627,40,128\n",
    "imported_operating_systems": "date,operating_system,operating_system_version,visitors,visits,visit_duration,"
    "bounces,pageviews\n2023-02-09,Mac,10.14,1,1,19,0,2\n",
    "imported_entry_pages": "date,entry_page,visitors,entrances,visit_duration,bounces,pageviews\n"
    "2023-02-09,/docs,28,29,3573,13,64\n",
    "imported_exit_pages": "date,exit_page,visitors,visit_duration,exits,bounces,pageviews\n2023-02-09,/,1,8,2,0,24\n",
    "imported_custom_events": "date,name,link_url,path,visitors,events\n2023-02-09,Signup,,,3,4\n"
    "2023-02-09,Outbound Link: Click,https://other.example/,,1,2\n2023-02-09,404,,/gone,1,1\n",
}


def plausible_zip(path: Path, **changed: str) -> Path:
    """The export of a site, each file with its days in its name; `changed` are other texts of files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (PLAUSIBLE | changed).items():
            archive.writestr(f"{name}_20230209_20230211.csv", text)
    return path


GA4_DAYS = """\
# ----------------------------------------
# Free form 1
# example.com
# 20240501-20240502
# ----------------------------------------

Date,Sessions,Total users,Views,Engaged sessions,Average session duration,Event count,Odd
,15,12,40,9,60,90,Grand total
20240501,10,8,30,6,90.5,70,
20240502,5,4,10,3,10,20,
nonsense,5
"""
GA4_COUNTRIES = """\
# Start date: 20240501
# End date: 20240501

Country,Active users,Sessions
Germany,5,6
(not set),1,1
"""


GOATCOUNTER_JSON = {
    "info.json": '{"export_version": "1.0", "goatcounter_version": "2.7"}',
    "paths.jsonl": '{"id": 1, "path": "/", "title": "Home"}\n{"id": 2, "event": true, "path": "signup", "title": ""}\n',
    "refs.jsonl": '{"id": 1, "ref": "", "ref_scheme": "o"}\n{"id": 2, "ref": "Some List", "ref_scheme": "g"}\n'
    '{"id": 3, "ref": "www.google.com/x", "ref_scheme": "h"}\n',
    "browsers.jsonl": '{"id": 9, "name": "Firefox", "version": "83"}\n',
    "systems.jsonl": '{"id": 8, "name": "Windows", "version": "10"}\n',
    "hit_stats.jsonl": '{"hour": "2026-03-05T19:00:00Z", "path_id": 1, "ref_id": 1, "count": 4}\n'
    '{"hour": "2026-03-05T23:00:00Z", "path_id": 1, "ref_id": 2, "count": 3}\n'
    '{"hour": "2026-03-06T00:00:00Z", "path_id": 1, "ref_id": 3, "count": 2}\n'
    '{"hour": "2026-03-06T00:00:00Z", "path_id": 2, "ref_id": 1, "count": 1}\n'
    '{"hour": "2026-03-06T00:00:00Z", "path_id": 7, "ref_id": 1, "count": 1}\n',
    "browser_stats.jsonl": '{"day": "2026-03-05", "path_id": 1, "browser_id": 9, "count": 7}\n',
    "system_stats.jsonl": '{"day": "2026-03-05", "path_id": 1, "system_id": 8, "count": 7}\n',
    "location_stats.jsonl": '{"day": "2026-03-05", "path_id": 1, "location": "RO-B", "count": 7}\n',
    "size_stats.jsonl": '{"day": "2026-03-05", "path_id": 1, "width": 1280, "count": 7}\n'
    '{"day": "2026-03-06", "path_id": 2, "width": 1280, "count": 1}\n',
}


def goatcounter_zip(path: Path) -> Path:
    """The JSON export of a site."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in GOATCOUNTER_JSON.items():
            archive.writestr(name, text)
    return path


def exported(tmp_path: Path, product: str, files: Files, day: date | None = None) -> Exported:
    """The export that files are, as the command takes it."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None
    return Exported(product, written(tmp_path, files), SITE, "", at)


def numbers(tmp_path: Path, product: str, files: Files, day: date | None = None) -> dict[str, list[int]]:
    """Visitors, visits and page views of each day."""
    found = by_day(exported(tmp_path, product, files, day).rows(), "UTC")
    return {str(day): [told.visitors, told.visits, told.pageviews] for day, told in sorted(found.days.items())}


def zipped(files: Files) -> bytes:
    """Files in a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()
