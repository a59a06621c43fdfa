"""The OpenAPI document is valid, has all routes of the API and no others, and every answer is as it says."""

from __future__ import annotations

from datetime import date, time
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from dashboards.filters import EXAMPLE, EXAMPLE_PATH, EXAMPLE_STEPS
from stores.accounts import Accounts
from stores.accounts.saved import Kind

SPAN = "site=example.com&from=2026-03-27&to=2026-03-31"
FILTERED = f"{SPAN}&filters={quote(EXAMPLE)}"
STEPS = '[["is","page",["/"]]]'
VISIT = f"{6:016x}-{1006:016x}"
# A question for each operation, so that a new one cannot be forgotten.
QUESTIONS = {
    "/stats": [SPAN, FILTERED],
    "/timeseries": [SPAN, f"{SPAN}&interval=hour&metric=bounce_rate"],
    "/breakdown": [f"{SPAN}&by=page", f"{SPAN}&by=city&limit=3"],
    "/realtime": ["site=example.com", "site=example.com&timezone=UTC"],
    "/visits": [SPAN, f"{SPAN}&limit=2&page=2", FILTERED],
    "/visit": [f"site=example.com&id={VISIT}"],
    "/funnel": [f"{SPAN}&steps={quote(EXAMPLE_STEPS)}", f"{SPAN}&by=visitor&steps={quote(STEPS)}"],
    "/goals": [SPAN, f"{SPAN}&segment=Home"],
    "/annotations": [SPAN],
    "/paths": [SPAN, f"{SPAN}&direction=to&path={quote(EXAMPLE_PATH)}"],
    "/searches": [SPAN],
    "/retention": [SPAN],
    "/openapi.json": [""],
}  # fmt: skip


@pytest.fixture(autouse=True)
def kept(accounts: Accounts) -> None:
    """A goal and a segment, for the questions about them."""
    accounts.saved.add("example.com", Kind.GOAL, "Shoes", '[["contains","page",["/sh"]]]', None)
    accounts.saved.add("example.com", Kind.SEGMENT, "Home", '[["is","page",["/"]]]', None)
    accounts.annotations.add("example.com", date(2026, 3, 28), time(9, 5), "A sale began")
    accounts.annotations.add("example.com", date(2026, 3, 29), None, "Clocks were changed")


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/v1/openapi.json").get_json()
    return found


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_it_has_the_routes_of_the_api(app: Flask, document: dict[str, Any]) -> None:
    prefix = document["servers"][0]["url"]
    routes = {rule.rule.removeprefix(prefix) for rule in app.url_map.iter_rules() if rule.rule.startswith(f"{prefix}/")}
    assert routes == document["paths"].keys() == QUESTIONS.keys()


@pytest.mark.parametrize(
    ("path", "question"), [(path, question) for path, questions in QUESTIONS.items() for question in questions]
)
def test_an_answer_is_as_the_document_says(
    client: FlaskClient, document: dict[str, Any], path: str, question: str
) -> None:
    answer = client.get(f"/api/v1{path}?{question}")
    assert answer.status_code == 200, answer.text
    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(answer.get_json())
    rows = answer.get_json().get("rows")
    assert rows != [] or "filters" in question or "path=" in question


def test_a_parameter_that_the_document_requires_is_asked_for(client: FlaskClient, document: dict[str, Any]) -> None:
    shared = document["components"]["parameters"]
    for path, item in document["paths"].items():
        given = dict(part.split("=", 1) for part in QUESTIONS[path][0].split("&") if part)
        for parameter in item["get"]["parameters"]:
            known = shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
            if known["required"]:
                others = "&".join(f"{name}={value}" for name, value in given.items() if name != known["name"])
                answer = client.get(f"/api/v1{path}?{others}")
                assert answer.status_code == 400, (path, known["name"])
                Draft202012Validator(document["components"]["schemas"]["Error"]).validate(answer.get_json())


def test_a_choice_that_the_document_names_is_taken_and_no_other(client: FlaskClient, document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for parameter in item["get"]["parameters"]:
            choices = parameter.get("schema", {}).get("enum", [])
            for value in [*choices, "nonsense"] if choices else []:
                own = f"{parameter['name']}="
                others = [part for part in QUESTIONS[path][0].split("&") if not part.startswith(own)]
                answer = client.get(f"/api/v1{path}?{'&'.join(others)}&{parameter['name']}={value}")
                assert answer.status_code == (200 if value in choices else 400), (path, parameter["name"], value)
