"""Real parts for the stores: S3 by moto's server, the embedded engine in this process."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

import stores
from stores.warehouse import Warehouse


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    """One a module: a process holds one embedded warehouse at a time. FOOTFALL_TEST_CLICKHOUSE names a server
    (infra/compose.yaml), where each module gets a database of its own."""
    server = os.environ.get("FOOTFALL_TEST_CLICKHOUSE")
    own = f"test_{uuid.uuid4().hex[:12]}"
    opened = stores.connect_warehouse(f"{server.rpartition('/')[0]}/{own}" if server else "chdb://")
    opened.migrate()
    yield opened
    if server:
        opened.command(f"DROP DATABASE {own}")
    opened.close()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in keys}
    os.environ.update(keys)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="footfall")
    client.close()
    yield endpoint
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def s3_url(s3_endpoint: str, tmp_path: Path) -> str:
    """A prefix of its own for each test."""
    return f"s3://footfall/{tmp_path.name}?endpoint={s3_endpoint}"
