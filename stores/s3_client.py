"""A bucket with a prefix: whole objects, conditional writes, errors in our words."""

from __future__ import annotations

from typing import Any

from stores.base import Lost, Unreachable, Unusable
from stores.location import Location


class Bucket:
    """Keys are relative to the prefix. Credentials come from where the AWS client looks for them."""

    def __init__(self, place: Location) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ModuleNotFoundError as missing:
            raise Unusable("s3:// needs the package boto3: pip install 'footfall[s3]'") from missing
        unknown = place.options.keys() - {"endpoint", "region"}
        if unknown or not place.host:
            raise Unusable(f"{place.shown}: give s3://bucket/prefix, with the options endpoint and region at most")
        self.shown = place.shown
        self._bucket = place.host
        self._prefix = f"{place.path.strip('/')}/" if place.path.strip("/") else ""
        self._refused: type[Exception] = ClientError
        self._failed: type[Exception] = BotoCoreError
        try:
            self._client: Any = boto3.client(
                "s3",
                endpoint_url=place.options.get("endpoint"),
                region_name=place.options.get("region"),
                config=Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"}),
            )
        except (BotoCoreError, ValueError) as error:
            raise Unusable(f"{place.shown}: {error}") from error

    def get(self, key: str) -> tuple[bytes, str] | None:
        """The object and its ETag, None when there is none."""
        answer = self._call("get_object", Key=self._prefix + key, missing="NoSuchKey")
        return None if answer is None else (answer["Body"].read(), answer["ETag"])

    def put(self, key: str, data: bytes) -> None:
        self._call("put_object", Key=self._prefix + key, Body=data)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Write if the ETag is still `expected` (None: if there is no object); the new ETag.

        `data` has to differ from all written before. The client repeats a request whose answer was lost, and the
        repetition finds its own object: then it was us who won."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        won = self._call("put_object", Key=self._prefix + key, Body=data, missing="lost", **condition)
        if won is not None:
            return str(won["ETag"])
        found = self.get(key)
        if found is not None and found[0] == data:
            return found[1]
        raise Lost(f"{key} was written by another process since it was read: load it again")

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=self._prefix + key)

    def keys(self, prefix: str) -> list[str]:
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._prefix + prefix, **token)
            found += [entry["Key"].removeprefix(self._prefix) for entry in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return sorted(found)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def close(self) -> None:
        self._client.close()

    def _call(self, operation: str, *, missing: str | None = None, **request: Any) -> Any:
        """The answer; None for the one refusal that the caller expects."""
        expected = {"NoSuchKey": {"NoSuchKey", "404"}, "lost": {"PreconditionFailed", "412", "NoSuchKey", "404"}}
        try:
            return getattr(self._client, operation)(Bucket=self._bucket, **request)
        except self._refused as error:
            code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
            if missing and code in expected[missing]:
                return None
            if code in ("ConditionalRequestConflict", "SlowDown", "InternalError", "ServiceUnavailable"):
                raise Unreachable(f"{self.shown}: S3 asks to try again ({code})") from error
            raise Unusable(f"{self.shown}: {error}; look at the bucket's name and the credentials") from error
        except self._failed as error:
            raise Unreachable(f"{self.shown}: {error}; retry later, or look at the endpoint and the region") from error
