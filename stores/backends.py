"""How stores reach the places they write to: folders, buckets and Redis, each by URL.

URLs. `parse_location` reads the URL of a store, and `hide_credentials` makes one that may be printed: errors name
stores by it.

Folders. A file is whole or absent, also after a power cut: it is written aside, synced and renamed, and then its
folder is synced. A file, and a folder made for it, is as open to other users as the folder around it, so permission to
read an archive is given once, on its folder. The folder of a store is as private as this process makes folders.

Buckets. A `Bucket` reads and writes whole objects below a prefix, with conditional writes.

Redis. A `RedisConnection` is a client whose waits are bounded.

All of them raise the errors of `stores.base`: `Unusable` for what the operator has to change, `StoreUnreachable` for
what may pass.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from stores.base import Conflict, StoreUnreachable, Unusable


@dataclass(frozen=True)
class Location:
    """A store's URL in parts. `scheme` is `file` for a plain path; `options` are the query's, the last of each name."""

    scheme: str
    host: str
    path: str
    options: dict[str, str]
    safe_url: str  # without credentials, to be printed

    @property
    def folder(self) -> Path:
        """The path, for a location of scheme `file`."""
        return Path(self.path)

    def below(self, name: str) -> str:
        """The URL of a location within this one."""
        path = quote(f"{self.path.rstrip('/')}/{name}")
        return build_url(self.scheme, self.host, path, urlencode(self.options))


def parse_location(url: str | os.PathLike[str]) -> Location:
    """The location of a URL, or of a path without a scheme. Raises `Unusable` for an empty or malformed one."""
    text = os.fspath(url)
    if "://" not in text:
        if not text:
            raise Unusable("an empty URL names no store: give a folder, as in /var/lib/footfall")
        path = str(Path(text).absolute())
        return Location("file", "", path, {}, path)
    parts = urlsplit(text)
    options = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise Unusable(f"{text}: a folder's URL has three slashes, as in file:///{parts.netloc}{parts.path}")
    return Location(parts.scheme, parts.netloc, unquote(parts.path), options, hide_credentials(text))


def hide_credentials(url: str) -> str:
    """The URL as it may be printed: without a password, and without the values of secret options."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if at and ":" in user:
        user = user.partition(":")[0] + ":***"
    query = "&".join(
        f"{name}=***" if any(word in name.lower() for word in ("secret", "password", "token", "key")) else pair
        for pair in parts.query.split("&")
        for name in [pair.partition("=")[0]]
    )
    return build_url(parts.scheme, user + at + host, parts.path, query)


def build_url(scheme: str, netloc: str, path: str, query: str = "") -> str:
    """The URL of these parts. It has two slashes also where the host is empty, which `urlunsplit` leaves out."""
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")


_PARTIAL = ".partial"


def make_folder(folder: Path, *, open_as_above: bool = False) -> None:
    """Make a folder with its parents, each synced into the one above it. Raises `Unusable` when that fails.

    With `open_as_above` each is as open to other users as the folder above it."""
    try:
        make_durable_folder(folder, open_as_above=open_as_above)
    except OSError as error:
        where = error.filename or folder
        raise Unusable(f"{where} cannot be made a folder ({error.strerror}): give one that can be written") from error


def make_durable_folder(folder: Path, *, open_as_above: bool = False) -> None:
    """As `make_folder`, but raises OSError."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_durable_folder(folder.parent, open_as_above=open_as_above)
    folder.mkdir(exist_ok=True)
    if open_as_above:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~0o777 | _permissions(folder.parent))
    sync_folder(folder.parent)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, durably on return. Of two writers of one path the last wins, and the file is whole."""
    make_folder(path.parent, open_as_above=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with aside.open("xb") as file:
            os.fchmod(file.fileno(), _permissions(path.parent) & 0o666)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: files that were made, renamed or deleted in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_partial(name: str) -> bool:
    """Whether a file has the name of one that is being written; after a crash, of one that never was whole."""
    return name.endswith(_PARTIAL)


class Bucket:
    """Whole objects of an S3 bucket below a prefix, by keys relative to it.

    Credentials come from where the AWS client looks for them. Every method raises `StoreUnreachable` and `Unusable`."""

    def __init__(self, place: Location) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ModuleNotFoundError as missing:
            raise Unusable("s3:// needs the package boto3: pip install 'footfall[s3]'") from missing
        unknown = place.options.keys() - {"endpoint", "region"}
        if unknown or not place.host:
            raise Unusable(f"{place.safe_url}: give s3://bucket/prefix, with the options endpoint and region at most")
        self.safe_url = place.safe_url
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
            raise Unusable(f"{place.safe_url}: {error}") from error

    def get(self, key: str) -> tuple[bytes, str] | None:
        """The object and its ETag, None when there is none."""
        answer = self._call("get_object", Key=self._prefix + key, missing="NoSuchKey")
        return None if answer is None else (answer["Body"].read(), answer["ETag"])

    def put(self, key: str, data: bytes) -> None:
        """Write an object, durably on return."""
        self._call("put_object", Key=self._prefix + key, Body=data)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Write if the ETag is still `expected` (None: if there is no object); returns the new ETag.

        Raises `Conflict` when it is another one. `data` has to differ from all data written before: the client repeats
        a request whose answer was lost, and when the repetition finds its own data, this swap had won."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        won = self._call("put_object", Key=self._prefix + key, Body=data, missing="lost", **condition)
        if won is not None:
            return str(won["ETag"])
        found = self.get(key)
        if found is not None and found[0] == data:
            return found[1]
        raise Conflict(f"{key} was written by another process since it was read: load it again")

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        self._call("delete_object", Key=self._prefix + key)

    def keys(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """All keys that begin with `prefix`, with the bytes of their objects."""
        found: dict[str, int] = {}
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._prefix + prefix, **token)
            found |= {entry["Key"].removeprefix(self._prefix): entry["Size"] for entry in page.get("Contents", [])}
            if not page.get("IsTruncated"):
                return found
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def close(self) -> None:
        """Close the connections."""
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
                raise StoreUnreachable(f"{self.safe_url}: S3 asks to try again ({code})") from error
            raise Unusable(f"{self.safe_url}: {error}; look at the bucket's name and the credentials") from error
        except self._failed as error:
            why = f"{self.safe_url}: {error}; retry later, or look at the endpoint and the region"
            raise StoreUnreachable(why) from error


class RedisConnection:
    """A Redis `client` by URL, and the `prefix` of every key.

    With `patience`, in seconds, a call is tried once and waits no longer; without, it waits up to 5 s and is repeated
    as the client library decides. Raises `Unusable` for a URL or option that is wrong."""

    def __init__(self, url: str, patience: float | None = None) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ModuleNotFoundError as missing:
            raise Unusable("redis:// needs the package redis: pip install 'footfall[redis]'") from missing
        parts = urlsplit(url)
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.prefix = options.pop("prefix", "footfall:")
        if options:
            raise Unusable(f"{hide_credentials(url)}: unknown option {', '.join(sorted(options))}; known: prefix")
        self.safe_url = hide_credentials(url)
        self._errors: tuple[type[Exception], ...] = (redis.ConnectionError, redis.TimeoutError)
        self.errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        seconds = 5 if patience is None else patience
        # A connection that a restart broke is made anew; nothing that was too slow is waited for again.
        once = {"retry": Retry(NoBackoff(), 1, (redis.ConnectionError,))} if patience is not None else {}
        try:
            self.client: Any = redis.Redis.from_url(
                build_url(parts.scheme, parts.netloc, parts.path),
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                **once,
            )
        except ValueError as error:
            raise Unusable(f"{self.safe_url}: {error}; give redis://host:6379/0") from error

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """The client, for calls within the block. Raises `StoreUnreachable` when Redis does not answer one of them."""
        try:
            yield self.client
        except self._errors as error:
            why = f"Redis at {self.safe_url} does not answer ({error}); is it running? Retry later"
            raise StoreUnreachable(why) from error

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
