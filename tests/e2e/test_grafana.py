"""The dashboards for Grafana: every statement of theirs is asked as Grafana's data source asks it, over a running `up`.

Grafana itself is not run. Its data source replaces macros and variables before it asks; `expanded` does so here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from infra.settings import DASHBOARDS_TOKEN
from tests.e2e.harness import ROOT, SITE, Up, fetch, running, secret_key, until
from tests.e2e.test_sql import ANN, BOB, CAT, DAY

FOLDER = ROOT / "infra" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("dashboards/*.json"))}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
TITLES = [f"{name}: {panel['title']}" for name, panel in PANELS]
START = datetime.fromisoformat(f"{DAY}T00:00:00+00:00")
SPAN = (int(START.timestamp()), int((START + timedelta(days=1)).timestamp()) - 1)
SECONDS = 3600

_MACROS = {
    "timeFilter": f"{{0}} >= toDateTime({SPAN[0]}) AND {{0}} <= toDateTime({SPAN[1]})",
    "timeInterval": f"toStartOfInterval(toDateTime({{0}}), INTERVAL {SECONDS} second)",
}


def expanded(statement: str, site: str = SITE) -> str:
    """A statement as Grafana sends it: of one day, by the hour."""
    found = re.sub(r"\$__(\w+)\((\w+)\)", lambda macro: _MACROS[macro[1]].format(macro[2]), statement)
    found = found.replace("${site:sqlstring}", "'" + site.replace("'", "''") + "'")
    assert "$" not in found
    return found


def test_there_are_dashboards_and_each_has_a_name_of_its_own() -> None:
    assert BOARDS.keys() == {"traffic", "operation"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    for board in BOARDS.values():
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)
        places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in board["panels"]]
        assert all(x + width <= 24 for x, _, width, _ in places)
        cells = [(column, row) for x, y, w, h in places for column in range(x, x + w) for row in range(y, y + h)]
        assert len(set(cells)) == len(cells)  # no panel covers another one


def test_everything_asks_the_data_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((FOLDER / "provisioning/datasources/footfall.yaml").read_text(encoding="utf-8"))
    (source,) = provisioned["datasources"]
    named = {"type": source["type"], "uid": source["uid"]}
    assert source["type"] == "grafana-clickhouse-datasource"
    for board in BOARDS.values():
        targets = [target for panel in board["panels"] for target in panel["targets"]]
        for asking in (*board["templating"]["list"], *board["panels"], *targets):
            assert asking["datasource"] == named


def test_no_secret_is_in_the_files_and_the_token_is_that_of_the_dashboards() -> None:
    provisioned = yaml.safe_load((FOLDER / "provisioning/datasources/footfall.yaml").read_text(encoding="utf-8"))
    (source,) = provisioned["datasources"]
    assert source["secureJsonData"] == {"password": f"${DASHBOARDS_TOKEN}"}
    assert source["jsonData"]["protocol"] == "http"
    assert source["jsonData"]["port"] == 8421
    provisioned = yaml.safe_load((FOLDER / "provisioning/dashboards/footfall.yaml").read_text(encoding="utf-8"))
    (provider,) = provisioned["providers"]
    assert f"`{provider['options']['path']}`" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("grafana") / "data", "--site", SITE, "--site", "quiet.example") as started:
        started.send(ANN + BOB + CAT, secret_key(started.data))
        assert started.post(b"\x00\xff", {"Content-Type": "application/json"})[0] == 400
        until(lambda: started.stats(first=DAY, last=DAY)["events"] == 10, "all events are in the numbers")
        until(lambda: started.sql("SELECT count() AS n FROM dead_letters")[0]["n"] == 1, "the dead letter is stored")
        yield started


def ask(up: Up, statement: str, **parameters: str) -> tuple[int, bytes]:
    given = {"database": "footfall", "max_execution_time": "60"} | parameters
    status, _, body = fetch(f"{up.dashboards}/?{urlencode(given)}", expanded(statement).encode())
    return status, body


def rows(up: Up, board: str, title: str) -> list[dict[str, Any]]:
    (panel,) = [panel for panel in BOARDS[board]["panels"] if panel["title"] == title]
    asked = {"default_format": "JSON", "output_format_json_quote_64bit_integers": "0"}
    status, body = ask(up, panel["targets"][0]["rawSql"], **asked)
    assert status == 200, body
    return list(json.loads(body)["data"])


@pytest.mark.slow
@pytest.mark.parametrize(("board", "panel"), PANELS, ids=TITLES)
def test_every_panel_is_answered_in_the_format_of_the_data_source(up: Up, board: str, panel: dict[str, Any]) -> None:
    (target,) = panel["targets"]
    status, body = ask(up, target["rawSql"], default_format="Native", client_protocol_version="54460")
    assert status == 200, body
    assert body.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00") or not body
    if target["queryType"] == "timeseries":
        assert all("time" in row for row in rows(up, board, panel["title"]))


@pytest.mark.slow
def test_the_variable_is_the_sites(up: Up) -> None:
    (variable,) = BOARDS["traffic"]["templating"]["list"]
    status, body = ask(up, variable["query"])
    assert (status, body.decode().split()) == (200, [SITE])


@pytest.mark.slow
def test_figures_are_those_of_the_api(up: Up) -> None:
    stats = up.stats(first=DAY, last=DAY)
    assert rows(up, "traffic", "Visitors") == [{"visitors": stats["visitors"]}]
    assert rows(up, "traffic", "Visits") == [{"visits": stats["visits"]}]
    assert rows(up, "traffic", "Page views") == [{"pageviews": stats["pageviews"]}]
    assert rows(up, "traffic", "Bounce rate") == [{"bounce_rate": stats["bounce_rate"]}]
    assert sum(row["pageviews"] for row in rows(up, "traffic", "Page views and visitors")) == stats["pageviews"]
    assert rows(up, "operation", "Events") == [{"events": stats["events"]}]
    assert sum(row["events"] for row in rows(up, "operation", "Events by site")) == stats["events"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "by", "column", "number"),
    [
        ("Pages", "page", "views", "pageviews"),
        ("Entry pages", "entry_page", "visits", "visits"),
        ("Searches", "search", "searches", "events"),
        ("Custom events", "event", "events", "events"),
        ("Sources", "source", "visits", "visits"),
    ],
)
def test_lists_are_those_of_the_api(up: Up, title: str, by: str, column: str, number: str) -> None:
    api = up.api("breakdown", by=by, first=DAY, last=DAY)["rows"]
    expected = sorted((row["value"] or "Direct", row[number]) for row in api)
    assert sorted((next(iter(row.values())), row[column]) for row in rows(up, "traffic", title)) == expected
    assert expected
