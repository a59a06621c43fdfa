"""The functions as AWS runs them, over moto's S3 and SQS: `track` and `drain` from the zip, the others from here."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from tests.patience import patient
from tests.serverless import function
from tests.serverless.runtime_api import RuntimeApi

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


class Aws:
    """moto, and clients of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.s3, self.sqs = (
            boto3.client(
                service,
                endpoint_url=url,
                region_name=REGION,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
            for service in ("s3", "sqs")
        )

    def bucket(self) -> str:
        """A new bucket."""
        name = f"footfall-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]


@contextmanager
def aws() -> Iterator[Aws]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Aws(f"http://{host}:{port}")
    server.stop()


class Zip:
    """The functions in the zip, unpacked, and run with no other package in sight than what Lambda has."""

    def __init__(self, task: Path, runtime: Path, folder: Path) -> None:
        self._task = task
        self._runtime = runtime
        self._folder = folder

    def running(self, name: str, **environ: str) -> AbstractContextManager[RuntimeApi]:
        scratch = {"FOOTFALL_DATA": str(self._folder / f"scratch-{name}")}
        return function.running(
            f"infra.serverless.{name}",
            cwd=self._task,
            python=[sys.executable, "-S"],
            python_path=self._runtime,
            environ=CREDENTIALS | scratch | environ,
            log=self._folder / f"{name}-{uuid.uuid4().hex}.log",
        )


class Image:
    """The functions of the image, which cannot be built here, over a warehouse and a bucket of their own.

    They run in this environment, which holds what the image would."""

    def __init__(self, kafka: str, aws: Aws, bucket: str, folder: Path) -> None:
        self.warehouse = folder / "warehouse"
        self._folder = folder
        self._environ = CREDENTIALS | {
            "FOOTFALL_BROKER": f"kafka://{kafka}",
            "FOOTFALL_DATA": str(folder / "scratch"),
            "FOOTFALL_CHECKPOINT": f"s3://{bucket}/checkpoint?endpoint={aws.url}",
            "HOME": str(folder),
        }
        self._stores = {
            "FOOTFALL_WAREHOUSE": f"chdb://{self.warehouse}",
            "FOOTFALL_ARCHIVE": f"s3://{bucket}/archive?endpoint={aws.url}",
        }

    def running(self, name: str, without: str = "", **environ: str) -> AbstractContextManager[RuntimeApi]:
        """A warm function; of the stores, it is not told about the variable `without`."""
        stores = {variable: url for variable, url in self._stores.items() if variable != without}
        return function.running(
            f"infra.serverless.{name}",
            cwd=function.ROOT,
            python=[sys.executable],
            python_path=function.ROOT,
            environ=self._environ | stores | {"AWS_LAMBDA_FUNCTION_NAME": f"footfall-dev-{name}"} | environ,
            log=self._folder / f"{name}-{uuid.uuid4().hex}.log",
        )

    def load(self, *happenings: Any) -> list[dict[str, int]]:
        """What one instance of the loader answers to them; it is gone afterwards. It does not know the archive."""
        with self.running("load", without="FOOTFALL_ARCHIVE") as api:
            return [api.invoke(happening, timeout=patient(120)) for happening in happenings]

    def archive(self, happening: Any) -> dict[str, int]:
        """What an instance of `archive` answers; it does not know the warehouse."""
        with self.running("archive", without="FOOTFALL_WAREHOUSE") as api:
            return dict(api.invoke(happening, timeout=patient(120)))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Asked of the engine itself, in a process of its own, since one process owns the folder."""
        script = (
            "import sys, chdb.session as s; print(s.Session(sys.argv[1]).query(sys.argv[2], 'JSONEachRow'), end='')"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(self.warehouse), sql], text=True, capture_output=True, check=True
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line]
