"""What old clients for browsers packed is unpacked, and nothing else is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity.compat.lz_string import unpacked

# As `compressToBase64` of lz-string 1.5 packs them.
PACKED = {
    "IZA=": "a",
    "BYUwNmD2AEoTcpA=": "hello hello hello",
    "NIE4zgpgBIyORYvBuAA9gNFUlYMUA===": "Käse ✓ 😀, Käse ✓ 😀",
    "IY18aQ==": "aaaaaaaaaaaaaaaaaaaaaaaa",
    "N4IgpgbmB2AuIC4QBIAOBDA5pAlmA7iADQioBOA9qmGbHgM6KiwUDWMiI8Avt0A=": (
        '{"event":"$pageview","properties":{"token":"t"}}'
    ),
}


@pytest.mark.parametrize(("packed", "text"), PACKED.items())
def test_a_text_is_unpacked(packed: str, text: str) -> None:
    assert unpacked(packed.encode(), 10_000) == text.encode()
    in_a_form = packed.replace("+", " ").rstrip("=")
    assert unpacked(in_a_form.encode(), 10_000) == text.encode()
    assert unpacked(packed.encode(), len(text) - 1) is None or len(text) == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_or_none(packed: bytes) -> None:
    for sent in (packed, base64.b64encode(packed)):
        found = unpacked(sent, 500)
        assert found is None or len(found.decode()) <= 500
