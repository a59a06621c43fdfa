"""A replay that is killed by kill -9 in its middle goes on, by the same command: of the command and of `up`.

Days of few events are done together, and so quickly that nobody could kill a replay between two of them. So the
product is started with a `sitecustomize` of the test, by which each day is a part and the third part never ends as long
as a file is there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.harness import PATIENCE, ROOT, SITE, Up, command, environment, footfall, secret_key, until
from tests.e2e.proof import ALL, digests, replay

pytestmark = pytest.mark.slow

DAYS = 5
SITECUSTOMIZE = """
import os, sys, time
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

class Patient(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "pipeline.replay.driver":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        run = spec.loader.exec_module
        def patched(module):
            run(module)
            module.PART_EVENTS = 1
            done = module._Replay._done
            def waiting(self, *given):
                self.parts = getattr(self, "parts", 0) + 1
                if self.parts == 3 and os.path.exists(os.environ["REPLAY_WAITS"]):
                    with open(os.environ["REPLAY_WAITS"], "w") as file:
                        file.write(str(os.getpid()))
                    time.sleep(3600)
                return done(self, *given)
            module._Replay._done = waiting
        spec.loader.exec_module = patched
        return spec

sys.meta_path.insert(0, Patient())
"""


def patient_environment(folder: Path) -> dict[str, str]:
    """The environment in which a replay waits in its third part, while the file `waits` is in the folder."""
    (folder / "custom").mkdir(exist_ok=True)
    (folder / "custom" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return {"PYTHONPATH": f"{folder / 'custom'}{os.pathsep}{ROOT}", "REPLAY_WAITS": str(folder / "waits")}


def filled(up: Up) -> list[dict[str, Any]]:
    """Visits on some days are in the numbers; returns the reports of a replay."""
    now = time.time_ns() // 1_000_000
    up.collect(id="live")
    events = [
        {"site": SITE, "type": "pageview", "url": f"https://{SITE}/{n}", "visitor": f"v{n % 7}", "id": f"e{n}",
         "ts": now - (n % DAYS) * 86_400_000 - n * 60_000}
        for n in range(60)
    ]  # fmt: skip
    up.send(events, secret_key(up.data))
    up.shows({"pageviews": 61})
    until(lambda: footfall("reconcile", "--data", str(up.data)).returncode == 0, "late visits are in the numbers")
    return replay(up.data)


def broken_off(data: Path, waits: Path, env: dict[str, str], *, kill_the_owner: bool) -> None:
    """Begin a replay, and kill -9 the process that works on it once it waits in its third part."""
    waits.write_text("")
    line = [*command(), "replay", *ALL, "--json", "--data", str(data)]
    with subprocess.Popen(line, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        worker = int(until(waits.read_text, "the replay is in its third part"))
        assert (worker == process.pid) is not kill_the_owner
        os.kill(worker, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == (1 if kill_the_owner else -signal.SIGKILL)
    waits.unlink()


@pytest.mark.parametrize("kill_the_owner", [False, True], ids=["the command", "up"])
def test_a_replay_killed_in_its_middle_goes_on_and_says_from_where(
    start: Start, tmp_path: Path, kill_the_owner: bool
) -> None:
    env = patient_environment(tmp_path)
    up = start("--site", SITE, env=env).wait_ready()
    whole = filled(up)
    assert len({report["day"] for report in whole}) >= DAYS
    if not kill_the_owner:
        assert up.stop() == 0
    broken_off(up.data, tmp_path / "waits", env, kill_the_owner=kill_the_owner)
    if kill_the_owner:
        until(lambda: answers(up), "up is there again")
    done = footfall("replay", *ALL, "--json", "--data", str(up.data), env=env)
    assert done.returncode == 0, done.stderr
    # Two days were done; the third is begun again.
    assert f"goes on from day {sorted({report['day'] for report in whole})[2]}" in done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert digests(reports) == digests(whole)
    assert [report["day"] for report in reports] == [report["day"] for report in whole]
    assert "goes on" not in footfall("replay", *ALL, "--data", str(up.data), env=env).stderr


def answers(up: Up) -> bool:
    try:
        return up.get("/ready")[0] == 200
    except OSError:
        return False
