"""ClickHouse's HTTP protocol in front of the embedded engine: the part of it that the client library speaks.

It stands in for a server binary, which cannot be had everywhere: the engine and its SQL are the real ones, the
wire is this file. Each request has a connection of its own, so settings and temporary tables end with it.

    python clickhouse_http.py FOLDER USER PASSWORD [SHARDS]     prints its port, ends when its standard input does

With SHARDS it is a cluster `main` of so many. Its distributed tables are real: what each shard is asked, how the
answers become one, and what the engine refuses over several. All shards lie in the one engine, and each sees only the
rows that the sharding key gives it. Replication and `ON CLUSTER` need a Keeper, and are left out. A row goes into its
table without a detour, for the engine would take the second shard's block under a token for the first one's.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tempfile
import threading
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import chdb

FOLDER, USER, PASSWORD = sys.argv[1:4]
# Parameters of the protocol itself; every other one is a setting.
PROTOCOL = {"query", "database", "default_format", "query_id", "session_id", "compress", "decompress", "quota_key"}
PROTOCOL |= {"client_protocol_version", "wait_end_of_query", "buffer_size", "role", "enable_http_compression"}
PROTOCOL |= {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "user", "password"}
_INSERT = re.compile(rb"\s*(INSERT INTO .*?)\s*FORMAT (\w+)\s*?\n(.*)", re.DOTALL | re.IGNORECASE)
_DISTRIBUTED = re.compile(r"Distributed\('\w+', '(\w+)', '(\w+)', (.+)\)$")
_NO_KEEPER = (
    (r" ON CLUSTER '\w+'", ""),
    (r"\bReplicated(?=\w*MergeTree)", ""),
    (r"(?<=SETTINGS )replicated_", "non_replicated_"),
)


class Shards:
    """The shards of the cluster, if it is one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._seen: tuple[str, str] | None = None

    def connect(self) -> Any:
        if not self.number:
            return chdb.connect(FOLDER)
        shard = "<shard><replica><host>127.0.0.1</host><port>9</port></replica></shard>"  # the engine itself
        servers = f"<remote_servers><main>{shard * self.number}</main></remote_servers>"
        file = Path(FOLDER).with_suffix(".xml")
        file.write_text(f"<clickhouse><tcp_port>9</tcp_port>{servers}</clickhouse>")
        return chdb.connect(f"{FOLDER}?config-file={file}")

    def prepare(self, connection: Any, query: str) -> str:
        """A statement without what needs a Keeper; the connection has each shard see its own rows only."""
        if not self.number:
            return query
        for pattern, instead in _NO_KEEPER:
            query = re.sub(pattern, instead, query)
        filters, names = self._seen or self._look(connection)
        connection.query(f"SET additional_table_filters = {filters}")
        return re.sub(rf"^(\s*INSERT INTO (?:`?\w+`?\.)?`?(?:{names}))\b", r"\1_local", query, flags=re.IGNORECASE)

    def done(self, query: str) -> None:
        """A statement was run."""
        if "ENGINE = Distributed" in query:
            self._seen = None

    def _look(self, connection: Any) -> tuple[str, str]:
        """By table behind a distributed one, when a row is of a shard (0: of none's work); the names of the latter."""
        sql = "SELECT name, engine_full FROM system.tables WHERE engine = 'Distributed'"
        filters, names = {}, []
        for line in str(connection.query(sql, "JSONEachRow")).splitlines():
            table = json.loads(line)
            found = _DISTRIBUTED.match(table["engine_full"])
            assert found, table
            key = "0" if found[3] == "rand()" else found[3]
            filters[f"{found[1]}.{found[2]}"] = f"shardNum() IN (0, {key} % {self.number} + 1)"
            names.append(table["name"])
        self._seen = str(filters), "|".join(names) or "-"
        return self._seen


SHARDS = Shards(int(sys.argv[4]) if len(sys.argv) > 4 else 0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet: the tests look at the answers."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _answer(self, body: bytes) -> None:
        asked = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query, True).items()}
        if self._user() != (USER, PASSWORD):
            self._send(403, b"Code: 516. DB::Exception: wrong password. (AUTHENTICATION_FAILED)", {})
            return
        connection = SHARDS.connect()
        try:
            kind, found = self._run(connection, asked, body)
            self._send(200, found, {"X-ClickHouse-Format": kind})
        except Exception as error:
            message = re.sub(r"^.*?(?=Code: )", "", str(error), flags=re.DOTALL).encode()
            self._send(500, message, {"X-ClickHouse-Exception-Code": message[6:].split(b".")[0].decode()})
        finally:
            connection.close()

    def _run(self, connection: Any, asked: dict[str, str], body: bytes) -> tuple[str, bytes]:
        if asked.get("database"):
            connection.query(f"USE `{asked['database']}`")
        query = asked.get("query", "")
        params = {name.removeprefix("param_"): value for name, value in asked.items() if name.startswith("param_")}
        settings = {
            name: value for name, value in asked.items() if name not in PROTOCOL and not name.startswith("param_")
        }
        with tempfile.TemporaryDirectory() as scratch:
            if self.headers.get("Content-Type", "").startswith("multipart/form-data"):
                query, params, settings = self._form(connection, asked, body, Path(scratch), params, settings)
            else:
                insert = _INSERT.match(f"{query}\n".encode() * bool(query) + body)
                if insert:
                    file = Path(scratch) / "body"
                    file.write_bytes(insert[3])
                    query = f"{insert[1].decode()} FROM INFILE '{file}' FORMAT {insert[2].decode()}"
                else:
                    query = "\n".join(part for part in (query, body.decode()) if part)
            query = SHARDS.prepare(connection, query)
            for name, value in sorted(settings.items(), key=lambda setting: setting[0] == "readonly"):
                quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                connection.query(f"SET {name} = '{quoted}'")
            named = re.search(r"\bFORMAT\s+(\w+)\s*;?\s*$", query, re.IGNORECASE)
            kind = named[1] if named else asked.get("default_format", "TabSeparated")
            found = connection.query(query, kind, params=params).bytes() or b""
            SHARDS.done(query)
            return kind, found

    def _form(
        self, connection: Any, asked: dict[str, str], body: bytes, scratch: Path,
        params: dict[str, str], settings: dict[str, str],
    ) -> tuple[str, dict[str, str], dict[str, str]]:  # fmt: skip
        """External data: a file a table, its structure and format beside it."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = BytesParser(_class=EmailMessage, policy=HTTP).parsebytes(head + body)
        fields, tables = dict(asked), {}
        for part in form.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if part.get_filename() is None:
                fields[name] = content.decode()
            else:
                tables[name] = content
        for name, content in tables.items():
            structure, kind = fields.pop(f"{name}_structure"), fields.pop(f"{name}_format")
            file = scratch / name
            file.write_bytes(content)
            connection.query(f"CREATE TEMPORARY TABLE {name} ({structure}) ENGINE = Memory")
            connection.query(f"INSERT INTO {name} FROM INFILE '{file}' FORMAT {kind}")
        params |= {name.removeprefix("param_"): value for name, value in fields.items() if name.startswith("param_")}
        for name in tables:
            settings.pop(f"{name}_structure", None)
            settings.pop(f"{name}_format", None)
        return fields["query"], params, settings

    def _user(self) -> tuple[str, str]:
        if self.headers.get("X-ClickHouse-User"):
            return self.headers["X-ClickHouse-User"], self.headers.get("X-ClickHouse-Key", "")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(token).decode().partition(":") if scheme == "Basic" else ("", "", "")
        return user, password

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        summary = json.dumps({"read_rows": "0", "written_rows": "0"})
        for name, value in (headers | {"X-ClickHouse-Summary": summary, "X-ClickHouse-Timezone": "UTC"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    keep = SHARDS.connect()  # the engine stays open between requests
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()
    keep.close()


if __name__ == "__main__":
    main()
