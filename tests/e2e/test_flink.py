"""`footfall load --runner flink://…` on a real Flink cluster with a real Kafka: the digests of one process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.harness import until
from tests.patience import patient
from tests.servers import flink as part
from tests.servers.flink import Flink

pytestmark = [pytest.mark.real, pytest.mark.slow]

SECONDS = patient(300)


def test_what_flink_loads_has_the_digests_of_one_process_though_workers_task_manager_and_loader_are_killed(
    flink: Flink, tmp_path: Path
) -> None:
    """Archive, checkpoint and exchange are on S3, the warehouse behind ClickHouse's HTTP protocol."""
    walk = flink.begin("tests.e2e.on_flink", flink.url(parallelism=2, processes=2), str(tmp_path))

    def until_exchanged(number: int) -> None:
        there = tmp_path / f"exchanged-{number}"
        until(lambda: there.exists() or walk.poll() is not None, "frames are exchanged", SECONDS)

    until_exchanged(0)
    for worker in flink.workers():
        os.kill(worker, signal.SIGKILL)
    until_exchanged(1)
    flink.task_managers[0].kill()
    part.start_task_manager(flink, 1)
    said, _ = walk.communicate(timeout=SECONDS)
    assert walk.returncode == 0, said + flink.tail()
    found = json.loads(said.splitlines()[-1])
    assert found["stored"] == found["sent"]
    assert [report["equal"] for report in found["reports"]] == [True] * len(found["reports"])
    assert sum(report["events"] for report in found["reports"]) == found["sent"]
    assert found["on_flink"] == found["reports"]
    assert found["left"] == []
