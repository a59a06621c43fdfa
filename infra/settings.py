"""All settings of Footfall, read once into one frozen object.

A setting has one name in three spellings: the field `broker`, the flag `--broker` and the variable `FOOTFALL_BROKER`.
A flag wins over the variable, and the variable over the default. The defaults suit a laptop: every part is embedded
and has its own place in the data folder. Nothing outside this package reads the environment.

`load` checks all settings and raises one `BadSettings` that lists every problem with what to do about it, so that
nobody has to correct them one run at a time.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import quote, urlsplit

PREFIX = "FOOTFALL_"
# Only the test suite reads these (see README, "Tests").
FOREIGN_PREFIX = "FOOTFALL_TEST_"

HELP: dict[str, str] = {
    "data": "Folder that holds everything the embedded parts keep.",
    "broker": "Event log: sqlite:///PATH, kafka://, redpanda://, warpstream:// or pulsar://HOST:PORT, memory://.",
    "warehouse": "ClickHouse: chdb:///PATH (embedded) or clickhouse://USER:PASSWORD@HOST:PORT/DATABASE.",
    "archive": "Parquet archive: a folder, or s3://BUCKET/PREFIX.",
    "live": "State that ingest processes share: a folder, or redis://HOST:PORT/DB.",
    "checkpoint": "Committed positions: a folder, s3://BUCKET/PREFIX or redis://HOST:PORT/DB.",
    "runner": "Where the pipeline's steps run, if not in this process: processes://N or flink://HOST:PORT.",
    "exchange": "Folder or s3://BUCKET/PREFIX through which a --runner's workers exchange frames.",
    "sites": "The sites, their keys, origins and limits: a TOML file.",
    "spool": "What keeps events while the broker is unreachable: a folder, or the https:// URL of an SQS queue.",
    "geo": "MaxMind-format database (.mmdb) for country, region and city.",
    "proxies": "Addresses or networks, comma separated, whose X-Forwarded-For is trusted.",
    "host": "Address to listen on.",
    "port": "Tracking port.",
    "dashboards_host": "Address that the dashboards listen on, if not --host; beyond loopback they need a token.",
    "dashboards_port": "Dashboards port.",
    "dashboards_url": "URL where browsers reach the dashboards, if not on loopback or the address they listen on.",
    "dashboards_password_file": "File with the token or password of the dashboards, on one line.",
    "oidc_issuer": "URL of the OpenID Connect provider by which users may sign in at the dashboards.",
    "oidc_client_id": "What that provider knows the dashboards by.",
    "oidc_client_secret_file": "File with the secret of that client, on one line.",
    "smtp": "Mail server for reports: smtp://, smtps:// or smtp+starttls://USER@HOST:PORT.",
    "mail_from": "Address that mail is from, such as footfall@example.com.",
    "smtp_password_file": "File with the password of USER at the mail server, on one line.",
    "webhook_networks": "Networks, comma separated, that webhooks of alerts may be in although they are not public.",
    "collect_url": "URL where browsers reach the tracking port, if a proxy is in front of it.",
}

# Secrets that do not belong in a URL. Variables only: everybody who lists the processes would see a flag.
SECRETS: dict[str, str] = {
    "username": "FOOTFALL_BROKER_USERNAME",
    "password": "FOOTFALL_BROKER_PASSWORD",
    "token": "FOOTFALL_BROKER_TOKEN",
}

# The secret of the dashboards, if it is not in a file.
DASHBOARDS_TOKEN = "FOOTFALL_DASHBOARDS_TOKEN"  # noqa: S105 - the name of the variable

# The secret of the dashboards at their OpenID Connect provider, if it is not in a file.
OIDC_SECRET = "FOOTFALL_OIDC_CLIENT_SECRET"  # noqa: S105 - the name of the variable

# The password at the mail server, if it is not in a file.
SMTP_PASSWORD = "FOOTFALL_SMTP_PASSWORD"  # noqa: S105 - the name of the variable

# The same secrets for the target broker of `footfall broker move`.
TO_SECRETS: dict[str, str] = {
    "username": "FOOTFALL_TO_USERNAME",
    "password": "FOOTFALL_TO_PASSWORD",
    "token": "FOOTFALL_TO_TOKEN",
}

_SCHEMES: dict[str, tuple[str, ...]] = {
    "warehouse": ("chdb", "clickhouse", "clickhouses"),
    "archive": ("file", "s3"),
    "live": ("file", "redis", "rediss"),
    "checkpoint": ("file", "s3", "redis", "rediss"),
    "spool": ("file", "https", "http"),
    "runner": ("processes", "flink"),
    "exchange": ("file", "s3"),
}
_FOLDERS = ("archive", "live", "checkpoint", "spool", "exchange")


class BadSettings(ValueError):
    """One or more settings cannot be used; `problems` has a sentence about each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings from flags, variables and defaults; see `load`. URLs are complete and paths absolute."""

    data: Path
    broker: str
    warehouse: str
    archive: str
    live: str
    checkpoint: str
    spool: str
    exchange: str
    sites: Path
    runner: str = ""
    geo: Path | None = None
    proxies: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8420
    dashboards_host: str = "127.0.0.1"
    dashboards_port: int = 8421
    dashboards_url: str = ""
    dashboards_password_file: Path | None = None
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None
    smtp: str = ""
    mail_from: str = ""
    smtp_password_file: Path | None = None
    webhook_networks: tuple[str, ...] = ()
    collect_url: str = ""
    smtp_password: str = field(default="", repr=False)
    oidc_secret: str = field(default="", repr=False)
    dashboards_secret: str = field(default="", repr=False)
    broker_secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def embedded(self) -> bool:
        """Whether the warehouse is embedded, so that only one process can open it."""
        return self.warehouse.startswith("chdb:")

    def environment(self) -> dict[str, str]:
        """Returns the environment variables with which a child process loads the same settings."""
        values: dict[str, object] = {name: getattr(self, name) for name in HELP}
        values |= {name: ",".join(getattr(self, name)) for name in ("proxies", "webhook_networks")}
        variables = {PREFIX + name.upper(): str(value) for name, value in values.items() if value not in (None, "")}
        if self.dashboards_secret and self.dashboards_password_file is None:
            variables[DASHBOARDS_TOKEN] = self.dashboards_secret
        if self.oidc_secret and self.oidc_client_secret_file is None:
            variables[OIDC_SECRET] = self.oidc_secret
        if self.smtp_password and self.smtp_password_file is None:
            variables[SMTP_PASSWORD] = self.smtp_password
        return variables | {SECRETS[name]: value for name, value in self.broker_secrets}

    @classmethod
    def load(cls, environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Settings:
        """Reads flags (None is not given), variables and defaults. Raises `BadSettings` with every problem at once."""
        problems = _unknown_variables(environ)
        given = {name: environ[PREFIX + name.upper()] for name in HELP if environ.get(PREFIX + name.upper())}
        given |= {name: str(value) for name, value in (flags or {}).items() if value is not None}

        data = Path(given.get("data", "data")).expanduser().absolute()
        if data.exists() and not data.is_dir():
            problems.append(f"data: {data} is a file; name a folder")
        text = {
            "broker": given.get("broker", f"sqlite://{_in_url(data)}/log.db"),
            "warehouse": given.get("warehouse", f"chdb://{_in_url(data)}/warehouse"),
            **{name: _folder_url(given.get(name, str(data / name))) for name in _FOLDERS},
        }
        runner = given.get("runner", "")
        problems += _scheme_problems(text | ({"runner": runner} if runner else {}))
        problems += _runner_problems(runner, text, given)
        password_file, secret = _secret(
            DASHBOARDS_TOKEN, environ, "dashboards_password_file", given, problems, "the password"
        )
        oidc_file, oidc_secret = _secret(
            OIDC_SECRET, environ, "oidc_client_secret_file", given, problems, "the client's secret"
        )
        mail_file, mail_password = _secret(
            SMTP_PASSWORD, environ, "smtp_password_file", given, problems, "the password"
        )
        problems += _mail_problems(given.get("smtp", ""), given.get("mail_from", ""), mail_password)
        oidc = (given.get("oidc_issuer"), given.get("oidc_client_id"), oidc_secret)
        if any(oidc) and not all(oidc):
            problems.append(
                f"signing in by a provider needs {spell('oidc_issuer')}, {spell('oidc_client_id')}, and {OIDC_SECRET} "
                f"or {spell('oidc_client_secret_file')}"
            )
        settings = cls(
            data=data,
            **text,
            runner=runner,
            sites=Path(given.get("sites", data / "sites.toml")).expanduser().absolute(),
            geo=_geo(given.get("geo"), problems),
            proxies=_networks("proxies", given, problems),
            host=given.get("host", cls.host),
            port=_port("port", given, cls.port, problems),
            dashboards_host=given.get("dashboards_host", given.get("host", cls.dashboards_host)),
            dashboards_port=_port("dashboards_port", given, cls.dashboards_port, problems),
            dashboards_url=_web_address("dashboards_url", given, problems),
            dashboards_password_file=password_file,
            dashboards_secret=secret,
            oidc_issuer=_web_address("oidc_issuer", given, problems),
            oidc_client_id=given.get("oidc_client_id", ""),
            oidc_client_secret_file=oidc_file,
            oidc_secret=oidc_secret,
            smtp=given.get("smtp", ""),
            mail_from=given.get("mail_from", ""),
            smtp_password_file=mail_file,
            smtp_password=mail_password,
            webhook_networks=_networks("webhook_networks", given, problems),
            collect_url=_web_address("collect_url", given, problems),
            broker_secrets=tuple((name, environ[key]) for name, key in SECRETS.items() if environ.get(key)),
        )
        if settings.port == settings.dashboards_port != 0:
            problems.append(f"port and dashboards_port are both {settings.port}; choose two")
        if problems:
            raise BadSettings(problems)
        return settings


def spell(name: str) -> str:
    """Returns a setting's flag and variable, for messages: "--broker (FOOTFALL_BROKER)"."""
    return f"--{name.replace('_', '-')} ({PREFIX}{name.upper()})"


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    problems = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable.startswith(FOREIGN_PREFIX):
            continue
        if variable in {*SECRETS.values(), *TO_SECRETS.values(), DASHBOARDS_TOKEN, OIDC_SECRET, SMTP_PASSWORD}:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in HELP:
            near = difflib.get_close_matches(name, HELP, n=1)
            hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else "; unset it, or see `footfall up --help`"
            problems.append(f"{variable} is not a setting{hint}")
    return problems


def _folder_url(value: str) -> str:
    """Turns a plain path into a file URL; a URL stays as it is."""
    return value if "://" in value else f"file://{_in_url(Path(value).expanduser().absolute())}"


def _in_url(path: Path) -> str:
    """The path as it stands in a URL. Only what would end or change it is quoted, as people read these URLs."""
    return re.sub("[%#?]", lambda found: quote(found[0]), str(path))


def _scheme_problems(urls: Mapping[str, str]) -> list[str]:
    problems = []
    for name, url in urls.items():
        scheme, separator, _ = url.partition("://")
        known = _SCHEMES.get(name)
        if not separator:
            problems.append(f"{spell(name)} needs a URL such as {HELP[name].split(': ', 1)[1]}")
        elif known is not None and scheme not in known:
            near = difflib.get_close_matches(scheme, known, n=1)
            hint = f"did you mean {near[0]}://?" if near else f"known: {', '.join(s + '://' for s in known)}"
            problems.append(f"{spell(name)}: {scheme}:// is not known; {hint}")
    return problems


def _runner_problems(runner: str, urls: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """What workers in other processes, and for Flink on other machines, could not open."""
    problems = []
    if runner and urls["warehouse"].startswith("chdb:"):
        problems.append(
            f"{spell('runner')}: an embedded warehouse belongs to one process, so workers elsewhere cannot write to it;"
            f" name a ClickHouse server by {spell('warehouse')}, or leave --runner out"
        )
    embedded = ("sqlite:", "memory:") if runner.startswith("flink:") else ("memory:",)
    if runner and urls["broker"].startswith(embedded):
        problems.append(
            f"{spell('runner')}: workers elsewhere cannot read the log of {urls['broker'].partition(':')[0]}:; name a"
            f" broker by {spell('broker')}, such as kafka://HOST:PORT"
        )
    if runner.startswith("flink:") and "exchange" not in given:
        problems.append(
            f"{spell('runner')}: name a place that all workers reach by {spell('exchange')}: s3://BUCKET/PREFIX or a"
            " shared folder"
        )
    return problems


def _port(name: str, given: Mapping[str, str], default: int, problems: list[str]) -> int:
    text = given.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    problems.append(f"{spell(name)}: {text!r} is not a port; give a number from 0 (any free one) to 65535")
    return default


def _geo(text: str | None, problems: list[str]) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        problems.append(f"{spell('geo')}: there is no file {path}; give a .mmdb database or leave it out")
    return path


def _networks(name: str, given: Mapping[str, str], problems: list[str]) -> tuple[str, ...]:
    networks = [part.strip() for part in given.get(name, "").split(",") if part.strip()]
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            problems.append(f"{spell(name)}: {network!r} is neither an address nor a network such as 10.0.0.0/8")
    return tuple(networks)


def _web_address(name: str, given: Mapping[str, str], problems: list[str]) -> str:
    text = given.get(name, "")
    if text and (urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).hostname):
        problems.append(f"{spell(name)}: {text!r} is no http:// or https:// address")
    return text.rstrip("/")


def _mail_problems(smtp: str, sender: str, password: str) -> list[str]:
    """What is wrong with the mail server and the address that mail is from."""
    if not smtp:
        return [f"{spell('mail_from')}, or a password, needs {spell('smtp')}"] if sender or password else []
    problems, example = [], f"{spell('smtp')} needs a URL such as smtp+starttls://USER@mail.example.com:587"
    try:
        split = urlsplit(smtp)
        host, _ = split.hostname, split.port
    except ValueError:
        return [example]
    if split.scheme not in ("smtp", "smtps", "smtp+starttls") or not host or split.path.strip("/") or split.query:
        problems.append(example)
    if split.password is not None:
        problems.append(f"{spell('smtp')} has a password in it: give it by {SMTP_PASSWORD} or a file instead")
    if bool(split.username) != bool(password):
        problems.append(f"{spell('smtp')}: a USER and a password, by {SMTP_PASSWORD} or a file, need each other")
    if split.scheme == "smtp" and split.username and host not in ("localhost", "127.0.0.1", "::1"):
        problems.append(f"{spell('smtp')}: smtp:// would send the password readable; use smtp+starttls:// or smtps://")
    address = parseaddr(sender)[1]
    if not sender.isprintable() or not sender.isascii() or "@" not in address.strip("@"):
        problems.append(f"{spell('mail_from')}: mail needs an address that it is from, such as footfall@example.com")
    return problems


def _secret(
    variable: str, environ: Mapping[str, str], name: str, given: Mapping[str, str], problems: list[str], what: str
) -> tuple[Path | None, str]:
    """The file if the setting `name` has one, and the secret: that of the variable, or the contents of the file."""
    text, file = environ.get(variable, ""), given.get(name)
    if not file:
        if not text.isprintable():
            problems.append(f"{variable} has line breaks or control characters, which no client can send")
        return None, text
    path, setting = Path(file).expanduser().absolute(), spell(name)
    if text:
        problems.append(f"{variable} and {setting} are both given; keep one")
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        problems.append(f"{setting}: {path} cannot be read: {why}")
        return path, ""
    if not secret or not secret.isprintable():
        problems.append(f"{setting}: {path} must hold {what} as its only line")
    return path, secret
