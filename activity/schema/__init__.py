"""The JSON Schema of the event on the wire, generated from the struct so that the two cannot differ.

Consumers in other languages read `event.json` next to this file. After a change to `activity.event`, run
`python -m activity.schema > schema.json && mv schema.json activity/schema/event.json`; a test checks that they agree.
"""

from __future__ import annotations

import json

import msgspec

from activity.event import SCHEMA_VERSION, Event

_HEX = {"id": 32, "visitor": 16}
_INTEGERS = ("occurred_at", "received_at", "sent_at", "results", "engaged_ms")


def generate() -> str:
    """Returns the schema (JSON Schema 2020-12) as indented JSON text that ends with a newline."""
    (root,), definitions = msgspec.json.schema_components([Event], ref_template="#/$defs/{name}")
    event = definitions.pop("Event")
    for name, digits in _HEX.items():
        event["properties"][name]["pattern"] = f"^[0-9a-f]{{{digits}}}$"
    for name in _INTEGERS:
        for choice in event["properties"][name].get("anyOf", [event["properties"][name]]):
            if choice["type"] == "integer":
                choice.update(minimum=-(2**63), maximum=2**63 - 1)
    assert root == {"$ref": "#/$defs/Event"}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:footfall:event:{SCHEMA_VERSION}",
        **event,
        "$defs": definitions,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
