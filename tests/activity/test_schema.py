"""The committed schema is the generated one, and it takes exactly what the codec takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import activity.schema
from activity import codec
from activity.event import Event, EventType

COMMITTED = Path(activity.schema.__file__).with_name("event.json")


def test_the_committed_schema_is_the_generated_one() -> None:
    printed = subprocess.run([sys.executable, "-m", "activity.schema"], capture_output=True, check=True).stdout
    assert COMMITTED.read_bytes() == printed, "run `python -m activity.schema` and commit what it prints"


def test_an_encoded_event_is_valid_and_a_wrong_one_is_not() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(COMMITTED.read_text("utf-8")))
    validator.check_schema(validator.schema)
    event = Event(
        v=1,
        id="0" * 32,
        site="example.com",
        type=EventType.CUSTOM,
        visitor="0" * 16,
        occurred_at=1,
        received_at=1,
        name="signup",
        props={"plan": "pro", "seats": 3, "trial": False, "ref": None},
    )
    valid = json.loads(codec.encode(event))
    validator.validate(valid)
    for wrong in ({"id": "x"}, {"type": "nothing"}, {"occurred_at": 2**63}, {"props": {"a": [1]}}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**valid, **wrong})
