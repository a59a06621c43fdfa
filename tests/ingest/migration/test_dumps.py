"""Dumps as other programs write them than the databases' own, each with the rows that are in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.logs.files import ImportFailed
from ingest.migration import sql_dump
from ingest.migration.members import members
from ingest.migration.sql_dump import TableRow
from tests.ingest.migration.exports import written

CREATE = "CREATE TABLE `log_visit` (\n  `a` int,\n  `b` text,\n  `c` binary(8)\n) ENGINE=InnoDB;\n"
BYTES = b"\x01\x02\xab\xff"
ROWS: list[tuple[bytes | None, ...]] = [(b"1", b"it's; (x), y", BYTES), (b"-2", None, b"")]

MYSQL = {
    "Adminer": "-- Adminer 4.8.1 MySQL 8.0.36 dump\nSET NAMES utf8;\n" + CREATE
    + "INSERT INTO `log_visit` (`a`, `b`, `c`) VALUES\n(1,\t'it''s; (x), y',\tUNHEX('0102ABFF')),\n"
    "(-2,\tNULL,\tUNHEX(''));\n",
    "HeidiSQL": "/*!40101 SET NAMES utf8mb4 */;\n" + CREATE
    + "INSERT INTO `log_visit` (`a`, `b`, `c`) VALUES\n\t(1, 'it\\'s; (x), y', _binary 0x0102ABFF),\n"
    "\t(-2, NULL, _binary '');\n",
    "DBeaver": "INSERT INTO matomo.log_visit (a,b,c) VALUES\n\t (1,'it''s; (x), y',0x0102ABFF),\n\t (-2,NULL,'');\n",
    "DataGrip": "insert into `my-matomo`.log_visit (a, b, c)\nvalues  (1, 'it''s; (x), y', 0x0102ABFF),\n"
    "        (-2, null, '');\n",
    "Navicat": CREATE + "BEGIN;\nINSERT INTO `my-db`.`log_visit` VALUES (1, 'it\\'s; (x), y', 0x0102ABFF);\n"
    "INSERT INTO `my-db`.`log_visit` VALUES (-2, NULL, 0x);\nCOMMIT;\n",
    "Workbench": CREATE + "INSERT INTO `log_visit` (`a`,`b`,`c`) VALUES (1,'it\\'s; (x), y',0x0102ABFF);\n"
    "INSERT INTO `log_visit` (`a`,`b`,`c`) VALUES (-2,NULL,'');\n",
    "phpMyAdmin": "-- phpMyAdmin SQL Dump\nSET time_zone = \"+00:00\";\n" + CREATE
    + "INSERT INTO `log_visit` (`a`, `b`, `c`) VALUES\n(1, 'it\\'s; (x), y', 0x0102abff),\n(-2, NULL, '');\n",
    "delayed": CREATE + "INSERT DELAYED IGNORE INTO `log_visit` VALUES (1,'it\\'s; (x), y',x'0102ABFF'),(-2,NULL,'') "
    "ON DUPLICATE KEY UPDATE a=VALUES(a);\n",
    "charsets": CREATE + "INSERT INTO `log_visit` VALUES (1,_latin1'it\\'s; (x), y',X'0102ABFF'),(-2,NULL,_ascii "
    "'');\n",
    "a comment between "
    "rows": CREATE + "INSERT INTO `log_visit` VALUES\n(1,'it\\'s; (x), y',0x0102ABFF),\n-- more\n(-2,NULL,'');\n",
    "one line": "CREATE TABLE `log_visit` (`a` int, `b` varchar(3) DEFAULT 'x, y', `c` decimal(1,2), PRIMARY KEY "
    "(`a`), KEY k (`a`)) ENGINE=x;\n"
    "INSERT INTO `log_visit` VALUES (1,'it\\'s; (x), y',0x0102ABFF),(-2,NULL,'');\n",
    "no spaces": "CREATE TABLE`log_visit`(\n`a` int,\n`b` text,\n`c` blob\n)ENGINE=InnoDB;\n"
    "INSERT INTO`log_visit`(`a`,`b`,`c`)VALUES(1,'it\\'s; (x), y',0x0102ABFF),(-2,NULL,'');\n",
    "no INTO": CREATE + "REPLACE `log_visit` VALUES (1,'it\\'s; (x), y',0x0102ABFF),(-2,NULL,'');\n",
    "carriage returns": (CREATE + "INSERT INTO `log_visit` VALUES\n(1,'it\\'s; (x), y',0x0102ABFF),\n"
    "(-2,NULL,'');\n").replace("\n", "\r\n"),
    "several on a line": CREATE + "INSERT INTO `log_visit` VALUES (1,'it\\'s; (x), y',0x0102ABFF);INSERT INTO "
    "`log_visit` VALUES (-2,NULL,'');\n",
}  # fmt: skip


@pytest.mark.parametrize("form", MYSQL)
def test_mysql(tmp_path: Path, form: str) -> None:
    (member,) = members(written(tmp_path, {"dump.sql": MYSQL[form]}))
    found = list(sql_dump.rows(member, ["log_visit"]))
    assert [tuple(row.values.values()) if isinstance(row, TableRow) else row for row in found] == ROWS
    assert sql_dump.is_dump(member)
    assert sql_dump.tables(member) == {"log_visit"}


def test_tables_of_several_databases_are_told_apart(tmp_path: Path) -> None:
    text = "USE `one`;\nINSERT INTO log_visit (a) VALUES (1);\nUSE `two`;\nINSERT INTO log_visit (a) VALUES (1);\n"
    (member,) = members(written(tmp_path, {"dump.sql": text}))
    with pytest.raises(ImportFailed, match=r"has the tables one\.log_visit and two\.log_visit: dump those of one"):
        list(sql_dump.rows(member, ["log_visit"]))
    (member,) = members(written(tmp_path, {"dump.sql": text.replace("two", "one")}))
    assert len(list(sql_dump.rows(member, ["log_visit"]))) == 2


def test_a_dump_as_powershell_writes_it(tmp_path: Path) -> None:
    (member,) = members(written(tmp_path, {"dump.sql": MYSQL["Workbench"].encode("utf-16")}))
    found = list(sql_dump.rows(member, ["log_visit"]))
    assert [tuple(row.values.values()) if isinstance(row, TableRow) else row for row in found] == ROWS
    assert sql_dump.is_dump(member)


def test_a_backslash_in_a_dump_of_mysql_without_a_mark(tmp_path: Path) -> None:
    text = r"INSERT INTO matomo.log_visit (a,b) VALUES (1,'C:\\it''s');"
    (member,) = members(written(tmp_path, {"dump.sql": text}))
    (row,) = sql_dump.rows(member, ["log_visit"], mysql=True)
    assert isinstance(row, TableRow) and row.values == {"a": b"1", "b": rb"C:\it's"}


TEXTS: list[tuple[bytes | None, ...]] = [(b"1", b"C:\\it's", b"true"), (b"2.5", None, b"")]
POSTGRES = {
    "Adminer": "-- Adminer 4.8.1 PostgreSQL 15 dump\nCREATE TABLE \"public\".\"session\" (\n    \"a\" integer,\n"
    "    \"b\" text,\n    \"c\" text\n) WITH (oids = false);\n\n"
    "INSERT INTO \"session\" (\"a\", \"b\", \"c\") VALUES\n(1,\t'C:\\it''s',\t'true'),\n(2.5,\tNULL,\t'');\n",
    "escapes": "INSERT INTO public.session (a, b, c) VALUES (1, E'C:\\\\it\\'s', true);\n"
    "INSERT INTO public.session (a, b, c) VALUES (2.5, NULL, '');\n",
    "casts": "INSERT INTO public.session (a,b,c) VALUES\n\t ('1'::int8,'C:\\it''s'::text,true),\n"
    "\t (2.5::numeric(4, 2),NULL::text,''::character varying);\n",
    "DBeaver": "INSERT INTO umami.\"session\" (a,b,c) VALUES\n\t (1,'C:\\it''s',true),\n\t (2.5,NULL,'');\n",
    "on conflict": "INSERT INTO public.session VALUES (1, 'C:\\it''s', true), (2.5, NULL, '') ON CONFLICT DO "
    "NOTHING;\n",
    "overriding": "INSERT INTO public.session (a, b, c) OVERRIDING SYSTEM VALUE VALUES (1, 'C:\\it''s', true);\n"
    "INSERT INTO public.session (a, b, c) OVERRIDING SYSTEM VALUE VALUES (2.5, NULL, '');\n",
    "copy of old "
    "versions": "COPY session (a, b, c) FROM stdin WITH NULL AS '\\\\N';\n1\tC:\\\\it's\ttrue\n2.5\t\\N\t\n\\.\n",
    "copy without "
    "columns": "CREATE TABLE public.session (\n    a int,\n    b text,\n    c text\n);\n"
    "COPY public.session FROM stdin;\n1\tC:\\\\it's\ttrue\n2.5\t\\N\t\n\\.\n",
    "copy as csv": "COPY public.session (a, b, c) FROM stdin;\n1\tC:\\\\it's\ttrue\n2.5\t\\N\t\n\\.\n\n\\connect x\n",
    "unlogged": "CREATE UNLOGGED TABLE IF NOT EXISTS public.session (\n    a int,\n    b text,\n    c text\n);\n"
    "INSERT INTO public.session VALUES (1, 'C:\\it''s', true);\nINSERT INTO public.session VALUES (2.5, NULL, '');\n",
    "SQLite": "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE session (a int, b text, c text);\n"
    "INSERT INTO session VALUES(1,'C:\\it''s','true');\nINSERT INTO session VALUES(2.5,NULL,'');\nCOMMIT;\n",
}  # fmt: skip


@pytest.mark.parametrize("form", POSTGRES)
def test_postgres(tmp_path: Path, form: str) -> None:
    text = POSTGRES[form]
    if "CREATE" not in text and "VALUES (1, 'C:\\it''s', true), (2.5" in text:
        text = "CREATE TABLE public.session (\n    a int,\n    b text,\n    c text\n);\n" + text
    (member,) = members(written(tmp_path, {"dump.sql": text}))
    found = list(sql_dump.rows(member, ["session"], prefixed=False))
    assert [tuple(row.values.values()) if isinstance(row, TableRow) else row for row in found] == TEXTS
    assert sql_dump.is_dump(member)
    assert sql_dump.tables(member) == {"session"}


DEFINITIONS = {
    "a text over lines": "(\n  a int COMMENT 'one, (two\n three''s', -- it's\n  b text /* c int,\n d int */\n) X;\n",
    "a backslash that ends a text": "(\n    a text DEFAULT 'C:\\',\n    b text\n);\n\nALTER TABLE x OWNER TO y;\n",
    "names of their own": "(`a` decimal(1,2), \"b\" text, CHECK (a IN ('(', ',')));\n",
    "no end": "(\n  a int,\n  b text\n",
    "texts without end": "(\n  a int,\n  b text\n)\n" + "',\n" * 50_000,
    "brackets without end": "(\n  a int,\n  b text\n)(\n" + "(''),(\n" * 50_000,
    "comments without end": "(\n  a int,\n  b text\n" + "/*(\n" * 50_000,
    "escapes without end": "(\n  a int,\n  b text\n" + "\\'(\n" * 50_001,
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_columns_of_a_definition(tmp_path: Path, name: str) -> None:
    text = f"CREATE TABLE session {DEFINITIONS[name]}INSERT INTO session VALUES (1, 'x');\n"
    (member,) = members(written(tmp_path, {"dump.sql": text}))
    (row,) = sql_dump.rows(member, ["session"])
    assert isinstance(row, TableRow) and row.values == {"a": b"1", "b": b"x"}
