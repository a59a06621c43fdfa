"""What a function makes of its variables, and what it refuses in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.serverless import function_settings, pure_python, sites
from infra.settings import BadSettings


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("kafka://h:9092", "kafka://h:9092?client=kafka-python"),
        ("kafka://h:9092?acks=all", "kafka://h:9092?acks=all&client=kafka-python"),
        ("kafka://h:9092?client=confluent", "kafka://h:9092?client=confluent"),
    ],
)
def test_the_zip_uses_the_client_that_it_carries(given: str, used: str) -> None:
    assert pure_python(given) == used


@pytest.mark.parametrize("broker", ["", "sqlite:///tmp/log.db", "memory://x"])
def test_a_functions_own_disk_is_no_broker(broker: str) -> None:
    with pytest.raises(BadSettings, match="FOOTFALL_BROKER: a function's disk does not last"):
        function_settings({"FOOTFALL_BROKER": broker})


def test_sites_come_from_the_variable_or_from_the_package(tmp_path: Path) -> None:
    text = '[[site]]\ndomain = "example.com"\n'
    (tmp_path / "sites.toml").write_text(text, encoding="utf-8")
    for value in (text, str(tmp_path / "sites.toml")):
        assert [site.domain for site in sites({"FOOTFALL_SITES": value}).all()] == ["example.com"]


@pytest.mark.parametrize("environ", [{}, {"FOOTFALL_SITES": "no/such.toml"}])
def test_a_function_without_sites_says_so_at_once(environ: dict[str, str]) -> None:
    with pytest.raises(BadSettings, match=r"FOOTFALL_SITES: .*give a TOML file inside the package, or the TOML itself"):
        sites(environ)
