"""`footfall load --runner flink://…` on a real Flink cluster with a real Kafka: the digests of one process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.harness import until
from tests.patience import patient
from tests.servers.flink import Flink

pytestmark = [pytest.mark.real, pytest.mark.slow]

SECONDS = patient(300)


def test_what_flink_loads_while_a_worker_is_killed_has_the_digests_of_one_process(flink: Flink, tmp_path: Path) -> None:
    exchange = tmp_path / "exchange"
    walk = flink.begin("tests.e2e.on_flink", flink.url(parallelism=2, processes=2), str(tmp_path))
    until(lambda: next(exchange.rglob("*.arrow"), None) or walk.poll() is not None, "frames are exchanged", SECONDS)
    os.kill(flink.workers()[0], signal.SIGKILL)
    said, _ = walk.communicate(timeout=SECONDS)
    assert walk.returncode == 0, said + flink.tail()
    found = json.loads(said.splitlines()[-1])
    assert found["stored"] == found["sent"]
    assert [report["equal"] for report in found["reports"]] == [True] * len(found["reports"])
    assert sum(report["events"] for report in found["reports"]) == found["sent"]
    assert found["on_flink"] == found["reports"]
    assert not list(exchange.rglob("*.arrow"))
