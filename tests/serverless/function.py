"""Run a function as AWS does: its own runtime client, polling a Runtime API, in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

from tests.serverless.runtime_api import RuntimeApi

ROOT = Path(__file__).parents[2]


def packaged() -> Path:
    """The zip of the tracking function; the templates lie beside it. For the fixture `package`, once a run."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.packaging", "--example"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return ROOT / ".serverless" / "footfall.zip"


def template(package: Path) -> dict[str, Any]:
    """The CloudFormation resources that a package was made for."""
    text = package.with_name("cloudformation-template-update-stack.json").read_text(encoding="utf-8")
    return dict(json.loads(text)["Resources"])


def unpack(package: Path, folder: Path) -> Path:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    return folder


def install_runtime(folder: Path) -> Path:
    """What Lambda's own Python has: its runtime client and the AWS client, nothing else, in a folder of its own."""
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six"):
        found = find_spec(name)
        assert found is not None and found.origin is not None
        source = Path(found.origin)
        source = source.parent if source.name == "__init__.py" else source
        (folder / source.name).symlink_to(source)
    for name in ("awslambdaric", "simplejson", "snapshot-restore-py"):
        for file in metadata.files(name) or []:
            if ".." not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    return folder


@contextmanager
def running(
    handler: str, *, cwd: Path, python: list[str], python_path: Path, environ: Mapping[str, str], log: Path
) -> Iterator[RuntimeApi]:
    """A warm function; `invoke` on what this yields. What it printed is in `log`."""
    api = RuntimeApi()
    variables = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(cwd),
        "PYTHONPATH": str(python_path),
        "PATH": "/usr/bin:/bin",
        **environ,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*python, "-m", "awslambdaric", handler], cwd=cwd, env=variables, stdout=output, stderr=output
        )
        # The client gone is an answer too, and the last one.
        Thread(
            target=lambda: api.answers.put((f"the function ended with {process.wait()}", log.read_text())), daemon=True
        ).start()
        try:
            yield api
        finally:
            process.kill()
            process.wait()
            api.shutdown()
            api.server_close()
