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


def test_what_flink_loads_while_workers_are_killed_has_the_digests_of_one_process(flink: Flink, tmp_path: Path) -> None:
    """Archive, checkpoint and exchange are on S3, the warehouse behind ClickHouse's HTTP protocol."""
    walk = flink.begin("tests.e2e.on_flink", flink.url(parallelism=2, processes=2), str(tmp_path))
    exchanged = tmp_path / "exchanged"
    until(lambda: exchanged.exists() or walk.poll() is not None, "frames are exchanged", SECONDS)
    for worker in flink.workers():
        os.kill(worker, signal.SIGKILL)
    said, _ = walk.communicate(timeout=SECONDS)
    assert walk.returncode == 0, said + flink.tail()
    found = json.loads(said.splitlines()[-1])
    assert found["stored"] == found["sent"]
    assert [report["equal"] for report in found["reports"]] == [True] * len(found["reports"])
    assert sum(report["events"] for report in found["reports"]) == found["sent"]
    assert found["on_flink"] == found["reports"]
    assert found["left"] == []
