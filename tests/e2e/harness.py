"""Footfall from outside: a process group, two ports and a data folder. Imports nothing of the product.

    up = Up(tmp_path / "data", "--site", SITE).wait_ready()
    up.collect(url=...)                      # one event as an ordinary browser sends it
    until(lambda: up.stats()["pageviews"] == 1, "the page view is in the numbers")
    assert up.stop() == 0                    # or up.stop(signal.SIGINT), up.kill()

The fixture `start` of `tests/e2e/conftest.py` makes them on the test's own folder and ends them all.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.patience import patient

ROOT = Path(__file__).parents[2]
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
SITE = "example.com"
PATIENCE = patient(60)
COMMAND_PATIENCE = patient(240)
ALWAYS = {"first": "2000-01-01", "last": "2099-12-31"}


def command() -> list[str]:
    """The installed `footfall` of this interpreter, else the same from the checkout."""
    installed = Path(sys.executable).with_name("footfall")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "infra.cli"]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without settings of the machine's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOOTFALL_")}
    return kept | {"PYTHONPATH": str(ROOT)} | dict(more or {})


def footfall(*arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    options = {"capture_output": True, "text": True, "timeout": COMMAND_PATIENCE} | options
    return subprocess.run([*command(), *arguments], env=environment(env), **options)


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer of `condition`.

    It is asked every 20 ms at first and every 250 ms in the end: the longer the wait, the less it matters. Where the
    question itself takes long, the rest between two is four times as long, up to a second: a page's number costs as
    much as 100 ms of a core, mostly of the process that is to do what is waited for."""
    begun = time.monotonic()
    while True:
        asked = time.monotonic()
        if answer := condition():
            return answer
        now = time.monotonic()
        waited = now - begun
        if waited > seconds:
            raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(max(min(max(waited / 20, 0.02), 0.25), min(4 * (now - asked), 1.0)))


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def fetch(
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name and body of one request on a connection of its own, whatever the status."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE)
    try:
        target = f"{address.path or '/'}{'?' + address.query if address.query else ''}"
        verb = method or ("GET" if body is None else "POST")
        connection.request(verb, target, body, {"User-Agent": AGENT, **(headers or {})})
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return response.status, named, response.read()
    finally:
        connection.close()


class Up:
    """A running `footfall up`, in a process group of its own."""

    def __init__(
        self,
        data: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        as_json: bool = True,
        program: Sequence[str] = (),
    ) -> None:
        """`program` is what to run instead of `footfall`."""
        self.data = data
        self.since = today()  # a test may run over midnight
        self.output = data.with_suffix(".log")
        line = [*(program or command()), "up", "--data", str(data), *arguments]
        if as_json:
            line.append("--json")
        if "--port" not in arguments:
            line += ["--port", "0", "--dashboards-port", "0"]
        with self.output.open("ab") as log:
            self._begin = log.tell()
            self.process = subprocess.Popen(
                line, env=environment(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.ready: dict[str, str] = {}

    @property
    def tracking(self) -> str:
        """Address of the tracking port, without a slash."""
        return self.ready["tracking"]

    @property
    def dashboards(self) -> str:
        """Address of the dashboards port, without a slash."""
        return self.ready["dashboards"]

    def wait_ready(self, seconds: float = PATIENCE) -> Up:
        """Until it has said so (with `as_json`)."""

        def ready() -> dict[str, str] | None:
            assert self.process.poll() is None, self.said()
            for line in self.said().splitlines():
                if line.startswith('{"event": "ready"'):
                    return dict(json.loads(line))
            return None

        self.ready = until(ready, "up is ready", seconds)
        return self

    def said(self) -> str:
        """Everything printed since this start."""
        return self.output.read_bytes()[self._begin :].decode(errors="replace")

    def post(
        self, body: Any, headers: Mapping[str, str] | None = None, path: str = "/collect"
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and decoded answer of a POST to the tracking port; bytes go as they are, the rest as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, named, answer = fetch(self.tracking + path, sent, headers)
        is_json = named.get("content-type", "").startswith("application/json")
        return status, named, json.loads(answer) if is_json else answer

    def collect(self, **event: Any) -> dict[str, Any]:
        """Send one event, a page view of `SITE`'s home page but for what is given; the answer to it.

        Raises OSError (urllib.error.URLError where nobody listens) when there was none."""
        event = {"site": SITE, "type": "pageview", "url": f"https://{SITE}/"} | event
        request = urllib.request.Request(f"{self.tracking}/collect", json.dumps(event).encode(), {"User-Agent": AGENT})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return dict(json.load(response))

    def send(self, events: Iterable[Mapping[str, Any]], key: str | None = None) -> dict[str, Any]:
        """Send a batch, with the site's secret key where events name their visitor or are old; the answer."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        status, _, answer = self.post({"events": list(events)}, headers)
        assert status == 202, answer
        return dict(answer)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body from the dashboards port."""
        status, _, body = fetch(self.dashboards + path)
        return status, body

    def api(self, question: str, **parameters: Any) -> dict[str, Any]:
        """`/api/v1/<question>`; of `SITE` since the start unless told. `first` and `last` are the days."""
        first, last = parameters.pop("first", None), parameters.pop("last", None)
        if "period" not in parameters:
            parameters |= {"from": first or self.since, "to": last or today()}
        status, body = self.get(f"/api/v1/{question}?{urlencode({'site': SITE} | parameters)}")
        assert status == 200, body
        return dict(json.loads(body))

    def stats(self, site: str = SITE, first: str | None = None, last: str | None = None) -> dict[str, float]:
        return self.api("stats", site=site, first=first, last=last)

    def shows(self, numbers: Mapping[str, float], site: str = SITE, seconds: float = PATIENCE) -> None:
        """Until these of the page's numbers, over all time, are exactly so. It may be starting still."""
        found: dict[str, float] = {}

        def same() -> bool:
            nonlocal found
            with suppress(OSError):
                stats = self.stats(site, **ALWAYS)
                found = {name: stats[name] for name in numbers}
            return found == numbers

        try:
            until(same, f"the numbers are {numbers}", seconds)
        except AssertionError as error:
            said = "\n".join(self.said().splitlines()[-20:])
            raise AssertionError(f"{error}: they are {found}. What `up` said last:\n{said}") from None

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Rows of `POST /sql`."""
        status, _, body = fetch(self.dashboards + "/sql?default_format=JSONEachRow", statement.encode())
        assert status == 200, body
        return [json.loads(line) for line in body.splitlines()]

    def group(self) -> list[int]:
        """Every process of it that is still there, the dead that nobody waited for left out."""
        found = subprocess.run(["ps", "-eo", "pid,pgid,stat"], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in found.splitlines()[1:]]
        return [int(pid) for pid, group, state in rows if int(group) == self.process.pid and state[0] != "Z"]

    def signal_group(self, number: signal.Signals) -> int:
        """As a terminal's Ctrl-C does; the exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the group and wait; the exit status."""
        return self.signal_group(number)

    def kill(self) -> None:
        """kill -9 of the whole group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def kill_parent(self) -> None:
        """kill -9 of the supervisor alone; back when nothing of the group is left."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.gone()

    def gone(self) -> None:
        """Back when nothing of the group is left."""
        self.process.wait(PATIENCE)
        until(lambda: not self.group(), "nothing of it is left")

    def end(self) -> None:
        """Whatever state it is in: nothing of it is left. For teardown."""
        if self.group():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


@contextmanager
def running(data: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Up]:
    """`up` that is ready, for a module's tests; nothing of it is left afterwards."""
    up = Up(data, *arguments, env=env)
    try:
        yield up.wait_ready()
    finally:
        up.end()


def secret_key(data: Path, site: str = SITE) -> str:
    """The key of a site in the sites file, as an operator looks it up."""
    sites = tomllib.loads((data / "sites.toml").read_text(encoding="utf-8"))["site"]
    return next(str(entry["key"]) for entry in sites if entry["domain"] == site)
