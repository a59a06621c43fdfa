"""Reports of Google Analytics in the languages, versions and spreadsheets that people have, each with what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.logs.files import ImportFailed
from ingest.migration.countries import country_code
from ingest.migration.ga4.numbers import is_number, seconds_of, share_of
from tests.ingest.migration.exports import exported, numbers

_TWO = "# Start date: 20240501\n# End date: 20240502\n"
BOTH = {"2024-05-01": [8, 10, 30], "2024-05-02": [4, 5, 10]}

DAYS: dict[str, tuple[str | bytes, dict[str, list[int]]]] = {
    "german": ("Datum,Nutzer insgesamt,Sitzungen,Aufrufe\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "german active": ("Datum;Aktive Nutzer;Sitzungen;Aufrufe\n20240501;8;10;30\n20240502;4;5;10\n"
    "Gesamtsumme;12;15;40\n", BOTH),
    "french": ("Date,Utilisateurs actifs,Sessions,Vues\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "french total": ("Date,Nombre total d’utilisateurs,Sessions,Vues\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "spanish": (
    "Fecha,Usuarios activos,Sesiones,Vistas\n20240501,8,10,30\n20240502,4,5,10\nSuma total,12,15,40\n", BOTH),
    "spanish total": ("Fecha,Total de usuarios,Sesiones,Vistas\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "japanese": ("日付,総ユーザー数,セッション,表示回数\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "japanese active": ("日付,アクティブ ユーザー,セッション,表示回数\n20240501,8,10,30\n20240502,4,5,10\n"
    ",12,15,40\n", BOTH),
    "italian": ("Data,Utenti attivi,Sessioni,Visualizzazioni\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "portuguese": ("Data,Usuários ativos,Sessões,Visualizações\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "dutch": ("Datum,Actieve gebruikers,Sessies,Weergaven\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "universal german": ("Datum;Nutzer;Sitzungen;Seitenaufrufe\n20240501;8;10;30\n20240502;4;5;10\n", BOTH),
    "universal french": ("Date,Utilisateurs,Sessions,Pages vues\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "universal spanish": ("Fecha,Usuarios,Sesiones,Número de visitas a páginas\n20240501,8,10,30\n"
    "20240502,4,5,10\n", BOTH),
    "universal japanese": ("日付,ユーザー,セッション,ページビュー数\n20240501,8,10,30\n20240502,4,5,10\n", BOTH),
    "full width": ("日付,セッション\n２０２４０５０１,１，２３４\n", {"2024-05-01": [0, 1234, 0]}),
    "a first column of "
    "days": ("Dzień,Sessions\n20240501,10\n20240502,5\n", {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "nth day in german": ("# Startdatum: 20240501\n# Enddatum: 20240502\nN-ter Tag,Sitzungen\n0000,10\n0001,5\n",
        {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "nth day in japanese": ("# 開始日: 20240501\n# 終了日: 20240502\nN 日目,セッション\n0000,10\n0001,5\n",
        {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "day index": ("# ----\n# All Web Site Data\n# Audience Overview\n# 20200131-20200202\n# ----\n\n"
    "Language,Users,% Users\n"
        "en-us,12,66%\n\nDay Index,Users\n1/31/20,3\n2/1/20,4\n2/2/20,5\n,12\n",
        {"2020-01-31": [3, 0, 0], "2020-02-01": [4, 0, 0], "2020-02-02": [5, 0, 0]}),
    "day index of one "
    "day": ("# 20200101-20200101\n\nPage,Pageviews\n/,30\n,30\n\nDay Index,Pageviews\n1/1/20,30\n,30\n",
        {"2020-01-01": [0, 0, 30]}),
    "day index in britain": ("# 20200201-20200203\n\nDay Index,Users\n01/02/2020,3\n02/02/2020,4\n03/02/2020,5\n",
        {"2020-02-01": [3, 0, 0], "2020-02-02": [4, 0, 0], "2020-02-03": [5, 0, 0]}),
    "day index in germany": ("# 20200201-20200203\n\nTagesindex;Nutzer\n01.02.20;3\n02.02.20;4\n03.02.20;5\n",
        {"2020-02-01": [3, 0, 0], "2020-02-02": [4, 0, 0], "2020-02-03": [5, 0, 0]}),
    "day index in japan": (
    "# 20200201-20200202\n\n日別インデックス,ユーザー\n2020/02/01,3\n2020/02/02,4\n",
        {"2020-02-01": [3, 0, 0], "2020-02-02": [4, 0, 0]}),
    "day index in words": ("# 20200201-20200202\n\nX,Users\n\"Saturday, February 1, 2020\",3\n"
    "\"Sunday, February 2, 2020\",4\n",
        {"2020-02-01": [3, 0, 0], "2020-02-02": [4, 0, 0]}),
    "days above as ISO": (
    "# Start date: 2024-05-01\n# End date: 2024-05-02\nNth day,Sessions\n0001,5\n", {"2024-05-02": [0, 5, 0]}),
    "german words": (
    "Datum;Sitzungen\n1. Mai 2024;10\n2. März 2024;5\n", {"2024-03-02": [0, 5, 0], "2024-05-01": [0, 10, 0]}),
    "french words": (
    "Date,Sessions\n1 mai 2024,10\n2 févr. 2024,5\n", {"2024-02-02": [0, 5, 0], "2024-05-01": [0, 10, 0]}),
    "spanish words": ("Fecha,Sesiones\n1 de mayo de 2024,10\n", {"2024-05-01": [0, 10, 0]}),
    "japanese words": ("日付,セッション\n2024年5月1日,10\n", {"2024-05-01": [0, 10, 0]}),
    "sep": ("sep=;\nDate;Sessions\n20240501;10\n", {"2024-05-01": [0, 10, 0]}),
    "sep above comments": ("sep=,\n# 20240501-20240502\nNth day,Sessions\n0000,10\n", {"2024-05-01": [0, 10, 0]}),
    "as excel saves it": ("# ----,,\n# Free form,,\n# 20240501-20240502,,\n# ----,,\n,,\nNth day,Sessions,Views\n"
    "0000,10,30\n0001,5,10\n,,\n",
        {"2024-05-01": [0, 10, 30], "2024-05-02": [0, 5, 10]}),
    "quoted comments": ('"# ----";\n"# Startdatum: 20240501";\n"# Enddatum: 20240502";\n;\n'
    '"N-ter Tag";"Sitzungen"\n"0000";"10"\n',
        {"2024-05-01": [0, 10, 0]}),
    "columns of nothing": ("Date,Sessions,,\n20240501,10,,\n,,,\n", {"2024-05-01": [0, 10, 0]}),
    "turned round in "
    "germany": (
    "Datum;Sitzungen\n01.05.2024;1.234\n13.05.2024;5\n", {"2024-05-01": [0, 1234, 0], "2024-05-13": [0, 5, 0]}),
    "turned round in "
    "britain": ("Date,Sessions\n01/05/2024,10\n13/05/2024,5\n", {"2024-05-01": [0, 10, 0], "2024-05-13": [0, 5, 0]}),
    "turned round in "
    "america": ("Date,Sessions\n5/1/2024,10\n5/13/2024,5\n", {"2024-05-01": [0, 10, 0], "2024-05-13": [0, 5, 0]}),
    "days in a row tell": ("Date,Sessions\n5/1/2024,1\n5/2/2024,2\n5/3/2024,3\n",
        {"2024-05-01": [0, 1, 0], "2024-05-02": [0, 2, 0], "2024-05-03": [0, 3, 0]}),
    "dashes": ("Date,Sessions\n13-05-2024,5\n", {"2024-05-13": [0, 5, 0]}),
    "slashes and the year first": ("Date,Sessions\n2024/05/01,10\n", {"2024-05-01": [0, 10, 0]}),
    "with the time": (
    "Date,Sessions\n2024-05-01 00:00:00,10\n2024-05-02T00:00:00Z,5\n",
        {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "a spreadsheet's number": ("Date,Sessions\n45413,10\n", {"2024-05-01": [0, 10, 0]}),
    "wrong order": ("Date,Sessions\n20240502,5\n20240501,10\n", {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "two files in one": (
    "Date,Sessions\n20240501,10\n20240502,4\nDate,Sessions\n20240502,5\n",
        {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "utf-16 of excel": ("Date\tSessions\r\n20240501\t10\r\n".encode("utf-16"), {"2024-05-01": [0, 10, 0]}),
    "latin-1": ("Fecha;Sesiones;Número de eventos\n20240501;10;5\n".encode("cp1252"), {"2024-05-01": [0, 10, 0]}),
    "decimals of "
    "nothing": (
    "Datum;Sitzungen\n20240501;1.234,00\n20240502;10,0\n", {"2024-05-01": [0, 1234, 0], "2024-05-02": [0, 10, 0]}),
    "money": (
    "Date,Sessions,Total revenue\n20240501,10,\"US$1,234.50\"\n20240502,5,€0\n",
        {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "money in europe": (
    "Datum;Sitzungen;Gesamtumsatz;Zeit\n20240501;10;1.234,50 €;1 min 3 s\n", {"2024-05-01": [0, 10, 0]}),
    "a column of numbers per "
    "day": (
    "Date,Day,Sessions\n20240501,01,10\n20240502,02,5\n", {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "no rows": ("Date,Sessions\n", {}),
    "very large": ("Date,Sessions\n20240501,999999999999999\n", {"2024-05-01": [0, 999_999_999_999_999, 0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", DAYS)
def test_days(tmp_path: Path, name: str) -> None:
    text, days = DAYS[name]
    assert numbers(tmp_path, "ga4", {"report.csv": text}) == days


OF_ONE = "# 20240501-20240501\n"
LISTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "primary channel "
    "group": (
    "Session primary channel group (Default Channel Group),Sessions\nOrganic Search,6\n",
        ("channel", "Organic Search", 0, 6)),
    "german channels": (
    "Sitzung – primäre Channelgruppe (Standard-Channelgruppe),Sitzungen\nDirect,6\n", ("channel", "Direct", 0, 6)),
    "german sources": ("Sitzung – Quelle/Medium;Sitzungen\ngoogle / organic;6\n", ("source", "google.com", 0, 6)),
    "german pages": (
    "Seitenpfad und Bildschirmklasse,Aufrufe,Aktive Nutzer\n/über-uns,6,2\n",
        ("page", "/%C3%BCber-uns", 2, 0, 0, 0, 6)),
    "german entries": (
    "Landingpage + Abfragestring;Sitzungen;Absprungrate\n/a?b=c;6;50,00 %\n", ("entry_page", "/a", 0, 6, 3)),
    "german countries": ("Land,Aktive Nutzer\nDeutschland,6\n", ("country", "DE", 6)),
    "german devices": ("Gerätekategorie,Aktive Nutzer\nmobile,6\n", ("device", "mobile", 6)),
    "german systems": ("Betriebssystem,Nutzer\nMacintosh,6\n", ("os", "macOS", 6)),
    "german events": (
    "Ereignisname,Ereignisanzahl,Nutzer insgesamt\npurchase,6,2\n", ("event", "purchase", 2, 0, 0, 0, 0, 6)),
    "french channels": ("Groupe de canaux principal de la session (groupe de canaux par défaut),Sessions\n"
    "Direct,6\n", ("channel", "Direct", 0, 6)),
    "french sources": ("Source/Support de la session,Sessions\n(direct) / (none),6\n", ("source", "", 0, 6)),
    "french pages": (
    "Chemin de la page et classe de l'écran,Vues\n/à-propos,6\n", ("page", "/%C3%A0-propos", 0, 0, 0, 0, 6)),
    "french countries": ("Pays,Utilisateurs actifs\nÉtats-Unis,6\n", ("country", "US", 6)),
    "french bounces": ("Navigateur,Sessions,Taux de rebond\nSafari,6,\"33,33 %\"\n", ("browser", "Safari", 0, 6, 2)),
    "spanish sources": ("Fuente/medio de la sesión,Sesiones\nt.co / referral,6\n", ("source", "x.com", 0, 6)),
    "spanish pages": ("Ruta de la página y clase de pantalla,Vistas\n/,6\n", ("page", "/", 0, 0, 0, 0, 6)),
    "spanish countries": ("País,Usuarios activos\nEspaña,6\n", ("country", "ES", 6)),
    "spanish devices": (
    "Categoría de dispositivo,Sesiones,Sesiones con interacción\ntablet,6,4\n", ("device", "tablet", 0, 6, 2)),
    "japanese sources": ("セッションの参照元 / メディア,セッション\nyahoo / organic,6\n",
        ("source", "yahoo.com", 0, 6)),
    "japanese pages": (
    "ページパスとスクリーン クラス,表示回数,アクティブ ユーザー\n/,6,2\n", ("page", "/", 2, 0, 0, 0, 6)),
    "japanese channels": ("セッションのメインのチャネル グループ（デフォルト チャネル グループ）,セッション\n"
    "Email,6\n", ("channel", "Email", 0, 6)),
    "japanese countries": ("国,ユーザー\n日本,6\n", ("country", "JP", 6)),
    "japanese entries": (
    "ランディング ページ + クエリ文字列,セッション,直帰率\n/a,6,50%\n", ("entry_page", "/a", 0, 6, 3)),
    "italian countries": ("Paese,Utenti attivi\nStati Uniti,6\n", ("country", "US", 6)),
    "country codes": ("Country ID,Active users\nDE,6\n", ("country", "DE", 6)),
    "universal pages": ("Page,Pageviews,Unique Pageviews,Avg. Time on Page,Entrances,Bounce Rate,% Exit,Page Value\n"
        "/,6,5,00:01:30,4,50.00%,33.33%,US$0.00\n", ("page", "/", 0, 0, 0, 0, 6)),
    "universal sources": ("Source / Medium,Users,New Users,Sessions,Bounce Rate,Pages / Session,Avg. Session Duration\n"
        "google / organic,4,3,6,50.00%,2.5,00:01:30\n", ("source", "google.com", 4, 6, 3, 540_000)),
    "universal channels": ("Default Channel Grouping,Users\nSocial,4\n", ("channel", "Social", 4)),
    "bounce rate as a share": ("Browser,Sessions,Bounce rate\nChrome,6,0.5\n", ("browser", "Chrome", 0, 6, 3)),
    "engagement rate": ("Browser,Sessions,Engagement rate\nChrome,6,0.6666\n", ("browser", "Chrome", 0, 6, 2)),
    "a sum in german": ("Land,Aktive Nutzer\nGesamtsumme,9\nÖsterreich,6\n", ("country", "AT", 6)),
    "a sum in japanese": ("国,ユーザー\n総計,9\nドイツ,6\n", ("country", "DE", 6)),
    "a name with all "
    "sorts": (
    "Event name,Event count\n\"a, \"\"b\"\";\nc \U0001f600\",6\n", ("event",
    "a, \"b\";\nc \U0001f600", 0, 0, 0, 0, 0, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_lists(tmp_path: Path, name: str) -> None:
    text, expected = LISTS[name]
    rows = [row for row in exported(tmp_path, "ga4", {"r.csv": OF_ONE + text}).rows() if hasattr(row, "rows")]
    assert [tuple(row.rows[0])[: len(expected)] for row in rows] == [expected]


def _answer(dimensions: list[str], metrics: list[str], *rows: str) -> dict[str, Any]:
    return {
        "dimensionHeaders": [{"name": name} for name in dimensions],
        "metricHeaders": [{"name": name, "type": "TYPE_INTEGER"} for name in metrics],
        "rows": [
            {"dimensionValues": [{"value": each} for each in row.split()[: len(dimensions)]],
             "metricValues": [{"value": each} for each in row.split()[len(dimensions) :]]}
            for row in rows
        ],
        "rowCount": len(rows), "metadata": {"currencyCode": "EUR", "timeZone": "Europe/Berlin"},
        "kind": "analyticsData#runReport",
    }  # fmt: skip


_API = _answer(["date"], ["totalUsers", "sessions", "screenPageViews"], "20240501 8 10 30", "20240502 4 5 10")
_V4 = {"reports": [{
    "columnHeader": {"dimensions": ["ga:date"], "metricHeader": {"metricHeaderEntries": [
        {"name": "ga:users", "type": "INTEGER"}, {"name": "ga:sessions"}, {"name": "ga:pageviews"}]}},
    "data": {"rows": [{"dimensions": ["20240501"], "metrics": [{"values": ["8", "10", "30"]}]},
                      {"dimensions": ["20240502"], "metrics": [{"values": ["4", "5", "10"]}]}],
             "totals": [{"values": ["12", "15", "40"]}]}}]}  # fmt: skip
_V3 = {"kind": "analytics#gaData",
       "columnHeaders": [{"name": f"ga:{name}"} for name in ("date", "users", "sessions", "pageviews")],
       "rows": [["20240501", "8", "10", "30"], ["20240502", "4", "5", "10"]]}  # fmt: skip
ANSWERS = {
    "one line": json.dumps(_API), "pretty": json.dumps(_API, indent=2), "batch": json.dumps({"reports": [_API]}),
    "pages": json.dumps([{**_API, "rows": _API["rows"][:1]}, {**_API, "rows": _API["rows"][1:]}]),
    "pages one below the other": "\n".join(json.dumps({**_API, "rows": [row]}, indent=1) for row in _API["rows"]),
    "version 4": json.dumps(_V4), "version 3": json.dumps(_V3),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_the_api(tmp_path: Path, name: str) -> None:
    assert numbers(tmp_path, "ga4", {"answer.json": ANSWERS[name]}) == BOTH


def test_lists_of_the_api(tmp_path: Path) -> None:
    answer = _answer(["date",
    "sessionSourceMedium"], ["sessions", "bounceRate", "averageSessionDuration"], "20240501 t.co/x 4 0.25 2.5")
    (row,) = exported(tmp_path, "ga4", {"a.json": json.dumps(answer)}).rows()
    assert tuple(row.rows[0])[:6] == ("source", "x.com", 0, 4, 1, 10_000)


_ADD_ON = "Report Name,Daily\nView ID,ga:1\n\nTotals For All Results\nga:sessions\n15\n\nResults Breakdown\n"
_RULED = "# ----\n# Snapshot\n# Start date: 20240501\n# End date: 20240502\n"
WHOLE = {
    "the add-on for spreadsheets": f"{_ADD_ON}ga:date,ga:sessions\n20240501,10\n20240502,5\n",
    "a table right below another": f"{_RULED}Nth day,Active users\n0000,1\n{_RULED}Nth day,Sessions\n0000,10\n0001,5\n",
    "a day that is not set": "Date,Sessions\n(not set),3\n20240501,10\n20240502,5\n",
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_sessions_of_days(tmp_path: Path, name: str) -> None:
    found = numbers(tmp_path, "ga4", {"r.csv": WHOLE[name]})
    assert {day: visits for day, (_, visits, _) in found.items()} == {"2024-05-01": 10, "2024-05-02": 5}


def test_a_campaign_with_a_hash(tmp_path: Path) -> None:
    text = "Date,Session campaign,Sessions\n20240501,a,1\n20240501,b,1\n#spring,,1\n"
    rows = list(exported(tmp_path, "ga4", {"r.csv": text}).rows())
    assert [type(row).__name__ for row in rows] == ["Total", "Total", "Broken"]


COUNTRIES = {
    "UK": "GB", "gb": "GB", "Great Britain": "GB", "United States of America": "US", "Viet Nam": "VN", "Curacao": "CW",
    "Korea, Republic of": "KR", "Bolivia, Plurinational State of": "BO", "Saint Kitts and Nevis": "KN",
    "Sao Tome and Principe": "ST", "Russian Federation": "RU", "\ucf69\uace0-\ud0a8\uc0e4\uc0ac": "CD",
    "Atlantis, Isle of": "",
}  # fmt: skip


def test_countries_in_more_words() -> None:
    assert {name: country_code(name) for name in COUNTRIES} == COUNTRIES


REFUSED = {
    "two ranges": ("Date,Sessions,Sessions\n20240501,10,7\n", "the column 'Sessions' is there twice"),
    "unclear days": ("Date,Sessions\n01/02/2024,10\n", "nobody can tell whether '01/02/2024' begins with the day"),
    "months as excel writes them": (
    "Date,Sessions\n" + "".join(f"01/{month:02}/2024,{month}\n" for month in range(1, 13)), "these may be months"),
    "two ways": ("Date,Sessions\n13/05/2024,10\n05/14/2024,10\n", "are written in two ways"),
    "hours in german": (
    "Datum + Stunde (JJJJMMTTHH),Sitzungen\n2024050112,1\n", "leave out the column 'Date \\+ hour'"),
    "hours in french": ("Date,Heure,Sessions\n20240501,12,1\n", "leave out the column 'Hour'"),
    "months": ("Month,Sessions\n202405,10\n", "does not say of which day it is"),
    "no days in an answer": (json.dumps(_answer(["country"], ["sessions"], "Germany 5")), "does not say of which day"),
    "an error": ('{"error": {"code": 403, "message": "no permission"}}', "Google's answer is: no permission"),
    "a number that splits "
    "days": ("Date,Stream ID,Sessions\n20240501,1,10\n20240501,2,5\n", "leave out the column 'Stream ID'"),
    "two things": (
    "Date,Land,Browser,Sitzungen\n20240501,Italien,Safari,5\n", "with one of Country, Browser beside Date"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_of_days_is_said_in_words(tmp_path: Path, name: str) -> None:
    text, words = REFUSED[name]
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "ga4", {"report": text}).rows())


SECONDS = {
    "90.5": 90.5, "90,5": 90.5, "1,234.5": 1234.5, "1.234,5": 1234.5, "1 234,5": 1234.5,
    "00:01:30": 90, "1:02:03": 3723,
    "1:30": 90, "<00:00:01": 1, "1m 30s": 90, "1 min 30 s": 90, "2h 3m": 7380, "45s": 45,
    "1分30秒": 90, "0": 0, "x": None,
    "-5": None, "": None, "1,234": None, "0,234": 0.234, "1.234": 1.234, "1.234.567,8": 1234567.8,
}  # fmt: skip
SHARES = {"45.5%": 0.455, "45,5 %": 0.455, "45,5\u00a0%": 0.455,
          "0.455": 0.455, "45.5": None, "45,678 %": 0.45678, "1": 1, "100%": 1, "0%": 0, "1%": 0.01,
          "-1": None, "x": None, "450": None}  # fmt: skip
NUMBERS = {"US$1,234.50": True, "1.234,50 €": True, "¥0": True, "0,00 zł": True, "CHF 5.00": True,
           "12%": True, "-3": True,
           "1 min 3 s": True, "": True, "—": True, "R$ 10,00": True, "Germany": False, "/": False, "iPhone 12": False,
           "18-24": False, "2024-05-01": False, "a1": True,
           "no a 1": False, "US$   1": True, "(not set)": False, "fr": False}  # fmt: skip


def test_numbers() -> None:
    assert {text: seconds_of(text) for text in SECONDS} == SECONDS
    assert {text: share_of(text, percent=False) for text in SHARES} == pytest.approx(SHARES)
    assert {text: is_number(text) for text in NUMBERS} == NUMBERS


HOSTILE = {
    "blanks": "a" + " " * 100_000 + "!", "blanks in a number": "<" + " " * 60 + "x y", "digits": "1" * 100_000,
    "points": ".," * 50_000, "signs": "-" * 100_000, "units": "1 m " * 25_000, "ligatures": "\ufdfa" * 64,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_too_long_is_no_number(name: str) -> None:
    text = HOSTILE[name]
    assert (is_number(text), seconds_of(text), share_of(text, True)) == (False, None, None)


COLUMNS = {
    "percent": ("Bounce rate", ["0.9", "1", "45.5"], [9, 10, 455]),
    "a percent sign": ("Bounce rate", ["0.9", "1", "45.5%"], [9, 10, 455]),
    "shares": ("Bounce rate", ["0.9", "1", "0.455"], [900, 1000, 455]),
    "engagement in percent": ("Engagement rate", ["99.1", "99", "0.5"], [9, 10, 995]),
    "the former api": ("ga:bounceRate", ["0.9", "1", "0.5"], [9, 10, 5]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_shares_of_a_column_are_read_alike(tmp_path: Path, name: str) -> None:
    column, texts, bounces = COLUMNS[name]
    lines = [f"2024050{day},1000,{text}\n" for day, text in enumerate(texts, 1)]
    rows = exported(tmp_path, "ga4", {"r.csv": f"Date,Sessions,{column}\n{''.join(lines)}"}).rows()
    assert [row.rows[0].bounces for row in rows] == bounces
    answer = _answer(["date"], ["sessions", column], *(line.replace(",", " ") for line in lines))
    assert [row.rows[0].bounces for row in exported(tmp_path, "ga4", {"r.json": json.dumps(answer)}).rows()] == bounces


DURATIONS = {
    "thousands": (["1,234", "90.5"], [1234, 90.5]), "fractions": (["1,234", "90,5"], [1.234, 90.5]),
    "thousands with points": (["1.234", "2.345,5"], [1234, 2345.5]), "fractions with points": (["1.234"], [1.234]),
    "nothing tells": (["1,234", "90"], [None, 90]), "millions": (["1,234", "1,234,567"], [1234, 1_234_567]),
}  # fmt: skip


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_of_a_column_are_read_alike(tmp_path: Path, name: str) -> None:
    texts, seconds = DURATIONS[name]
    lines = [f"2024050{day};1;{text}\n" for day, text in enumerate(texts, 1)]
    text = f"Date;Sessions;Average session duration\n{''.join(lines)}"
    found = [getattr(row, "rows", None) for row in exported(tmp_path, "ga4", {"r.csv": text}).rows()]
    assert [rows and rows[0].duration_ms / 1000 for rows in found] == seconds
