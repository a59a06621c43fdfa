"""The functions as AWS runs them, over moto's S3 and SQS: `track` and `drain` from the zip, the others from here."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3

from tests import s3
from tests.patience import patient
from tests.serverless import function
from tests.serverless.runtime_api import RuntimeApi

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


class Aws:
    """moto, and clients of it. Once `enforce` was called, moto checks what a function may do by the function's role."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.s3, self.sqs, self._iam = self._clients("test", "test")
        self._credentials: dict[str, dict[str, str]] = {}

    def credentials(self, name: str) -> dict[str, str]:
        """The variables that tell a function who it is."""
        return CREDENTIALS | self._credentials.get(name, {})

    def enforce(self, template: Mapping[str, Any], bucket: str) -> None:
        """From here on each function may do what its role in the template says, in this bucket."""
        resources = {"Store": f"arn:aws:s3:::{bucket}", "Spool": "*"}  # of a queue moto checks the actions alone
        if not self._credentials:
            everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
            key, secret = self._user("tests", [everything])
            self.s3, self.sqs, self._iam = self._clients(key, secret)
        for name, resource in template.items():
            if resource["Type"] != "AWS::IAM::Role":
                continue
            policies = resource["Properties"]["Policies"]
            statements = [part for policy in policies for part in policy["PolicyDocument"]["Statement"]]
            granted = [
                {**part, "Action": _actions(part["Action"]), "Resource": arn}
                for part in statements
                if part["Effect"] == "Allow" and (arn := _arn(part["Resource"], resources))
            ]
            key, secret = self._user(name, granted)
            of = name.removesuffix("Role").lower()
            self._credentials[of] = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        self.check_from_now_on("0")

    def check_from_now_on(self, after: str) -> None:
        """Checks all calls but the next so many."""
        plain = {"content-type": "text/plain"}
        urlopen(Request(f"{self.url}/moto-api/reset-auth", after.encode(), plain)).close()

    def _user(self, name: str, statements: list[Any]) -> tuple[str, str]:
        unique = f"{name}-{uuid.uuid4().hex}"
        self._iam.create_user(UserName=unique)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self._iam.put_user_policy(UserName=unique, PolicyName=name, PolicyDocument=document)
        key = self._iam.create_access_key(UserName=unique)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def _clients(self, key: str, secret: str) -> list[Any]:
        who = {"region_name": REGION, "aws_access_key_id": key, "aws_secret_access_key": secret}
        return [boto3.client(service, endpoint_url=self.url, **who) for service in ("s3", "sqs", "iam")]

    def bucket(self) -> str:
        """A new bucket."""
        name = f"footfall-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]


def _actions(named: str | list[str]) -> list[str]:
    """The actions of a statement; moto asks for the one of a batch, which SQS does not know, by its own name."""
    actions = [named] if isinstance(named, str) else named
    return [*actions, *(f"{action}Batch" for action in actions if action.startswith("sqs:Send"))]


def _arn(resource: Any, known: Mapping[str, str]) -> str:
    """The resource of a statement, with the ARNs in place of the template's names; "" for what moto is not asked."""
    if isinstance(resource, str):
        return ""
    text = str(resource.get("Fn::Sub") or "${" + ".".join(resource["Fn::GetAtt"]) + "}")
    for name, arn in known.items():
        text = text.replace("${" + name + ".Arn}", arn)
    return "" if "$" in text else text


@contextmanager
def aws() -> Iterator[Aws]:
    with s3.serving() as endpoint:
        started = Aws(endpoint)
        yield started
        # The number is the process's, and so also of a server that is started after this.
        started.check_from_now_on("inf")


class Zip:
    """The functions in the zip, unpacked, and run with no other package in sight than what Lambda has."""

    def __init__(self, task: Path, runtime: Path, aws: Aws, folder: Path) -> None:
        self._aws = aws
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
            environ=self._aws.credentials(name) | scratch | environ,
            log=self._folder / f"{name}-{uuid.uuid4().hex}.log",
        )


class Image:
    """The functions of the image, which cannot be built here, over a warehouse and a bucket of their own.

    They run in this environment, which holds what the image would."""

    def __init__(self, kafka: str, aws: Aws, bucket: str, folder: Path) -> None:
        self.warehouse = folder / "warehouse"
        self._aws = aws
        self._folder = folder
        self._environ = {
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
        stores["AWS_LAMBDA_FUNCTION_NAME"] = f"footfall-dev-{name}"
        return function.running(
            f"infra.serverless.{name}",
            cwd=function.ROOT,
            python=[sys.executable],
            python_path=function.ROOT,
            environ=self._environ | self._aws.credentials(name) | stores | environ,
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
