"""One object, one precedence, every problem at once."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from infra import access
from infra.backup import places
from infra.doctor.folders import folder_of
from infra.settings import HELP, BadSettings, Settings
from stores import connect_checkpoint


def test_the_defaults_keep_everything_under_the_data_folder(tmp_path: Path) -> None:
    settings = Settings.load({"FOOTFALL_DATA": str(tmp_path)})
    stores = (settings.warehouse, settings.archive, settings.live, settings.checkpoint)
    for url in (settings.broker, settings.spool, *stores):
        assert url.partition("://")[2].startswith(str(tmp_path))
    assert settings.sites.is_relative_to(tmp_path)
    assert settings.host == "127.0.0.1"
    assert settings.embedded


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default() -> None:
    environ = {"FOOTFALL_PORT": "9000", "FOOTFALL_BROKER": "kafka://h:9092"}
    settings = Settings.load(environ, {"port": 9001, "broker": None})
    assert (settings.port, settings.broker, settings.dashboards_port) == (9001, "kafka://h:9092", 8421)


def test_a_child_given_the_environment_loads_equal_settings(tmp_path: Path) -> None:
    secret = {"FOOTFALL_BROKER_PASSWORD": "s3cret"}
    settings = Settings.load(secret, {"data": tmp_path, "port": 1234, "proxies": "10.0.0.0/8, ::1"})
    assert Settings.load(settings.environment()) == settings
    assert "s3cret" not in repr(settings)


def test_a_child_asks_for_the_same_token_or_password(tmp_path: Path) -> None:
    by_variable = Settings.load({"FOOTFALL_DASHBOARDS_TOKEN": "t0ken"}, {"data": tmp_path, "host": "10.1.2.3"})
    assert Settings.load(by_variable.environment()) == by_variable
    file = tmp_path / "password"
    file.write_text("passw0rd\n", encoding="utf-8")
    by_file = Settings.load({}, {"data": tmp_path, "dashboards_password_file": file})
    assert by_file.dashboards_secret == "passw0rd"
    assert Settings.load(by_file.environment()) == by_file
    assert "passw0rd" not in f"{by_file!r}{by_file.environment()}" and "t0ken" not in repr(by_variable)


def test_a_provider_is_named_completely_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n", encoding="utf-8")
    named = {"data": tmp_path, "oidc_issuer": "https://login.example/", "oidc_client_id": "footfall"}
    by_variable = Settings.load({"FOOTFALL_OIDC_CLIENT_SECRET": "s3cret"}, named)
    by_file = Settings.load({}, named | {"oidc_client_secret_file": file})
    for settings in (by_variable, by_file):
        assert Settings.load(settings.environment()) == settings
        assert "s3cret" not in repr(settings)
        provider = access.provider(settings)
        assert provider is not None
        assert (provider.issuer, provider.client_id, provider.secret) == ("https://login.example", "footfall", "s3cret")
        assert "s3cret" not in repr(provider)
    assert access.provider(Settings.load({}, {"data": tmp_path})) is None
    for flags, environ in (({}, {"FOOTFALL_OIDC_CLIENT_SECRET": "x"}), (named, {}), ({"oidc_client_id": "x"}, {})):
        with pytest.raises(BadSettings, match="signing in by a provider needs"):
            Settings.load(environ, flags)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    access.refuse_unguarded(Settings.load({}, {"host": host}))
    access.refuse_unguarded(Settings.load({}, {"host": "0.0.0.0", "dashboards_host": host}))


EVERYWHERE = ("0.0.0.0", "::", "", "10.1.2.3", "fe80::1%eth0", "stats.example.com", "0", "2130706433")


@pytest.mark.parametrize("host", EVERYWHERE)
def test_everything_else_needs_one(host: str) -> None:
    with pytest.raises(click.UsageError, match="FOOTFALL_DASHBOARDS_TOKEN"):
        access.refuse_unguarded(Settings.load({}, {"dashboards_host": host}))
    access.refuse_unguarded(Settings.load({"FOOTFALL_DASHBOARDS_TOKEN": "x"}, {"dashboards_host": host}))


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    environ = {
        "FOOTFALL_BROKR": "kafka://h",
        "FOOTFALL_WAREHOUSE": "clickhose://h",
        "FOOTFALL_PORT": "eighty",
        "FOOTFALL_GEO": str(tmp_path / "none.mmdb"),
        "FOOTFALL_PROXIES": "10.0.0.0/8,cat",
        "FOOTFALL_COLLECT_URL": "stats.example.com",
        "FOOTFALL_TEST_REQUIRE": "all",
    }
    with pytest.raises(BadSettings) as caught:
        Settings.load(environ)
    text = str(caught.value)
    assert len(caught.value.problems) == 6
    for word in ("FOOTFALL_BROKER?", "clickhouse://?", "'eighty'", "none.mmdb", "'cat'", "'stats.example.com'"):
        assert word in text


def test_equal_ports_are_refused_but_two_free_ones_may_be_asked_for() -> None:
    with pytest.raises(BadSettings, match="choose two"):
        Settings.load({}, {"port": 8421})
    assert Settings.load({}, {"port": 0, "dashboards_port": 0}).port == 0


def test_every_field_has_a_line_of_help() -> None:
    secret = {"broker_secrets", "dashboards_secret", "oidc_secret", "smtp_password"}
    assert set(Settings.__dataclass_fields__) == {*HELP} | secret


@pytest.mark.parametrize("name", ["a%20b", "50%", "ä#x", "why?", "with space"])
def test_a_data_folder_of_any_name_has_its_parts_in_it(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    settings = Settings.load({}, {"data": str(data), "archive": str(data / "files")})
    found = places.of(settings)
    assert found["archive"] == data / "files" == folder_of(settings.archive)
    assert [path for path in found.values() if not path.is_relative_to(data)] == []
    connect_checkpoint(settings.checkpoint).swap("unit-1", b"{}", None)
    assert [path.name for path in data.iterdir()] == ["checkpoint"]
