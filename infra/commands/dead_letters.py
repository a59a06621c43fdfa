"""`footfall dead-letters`: what was received and not understood, and how it is mended."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from infra.commands.flags import SettingsCommand, refuse_unknown_site, with_json, with_settings
from infra.errors import Failed
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.processes.session import Session

_DAY = click.DateTime(["%Y-%m-%d"])
_PAGE = 200  # letters asked for, and replayed, at once
_SHOWN = 60  # characters of a letter in the list

Line = dict[str, Any]
Substitution = tuple["re.Pattern[bytes]", bytes]


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at requests and lines that were not understood, mend them, and have them counted after all."""


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that choose letters."""
    for option in (
        click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Received on this day (UTC) or before."),
        click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="Received on this day (UTC) or later."),
        click.option("--site", default="", metavar="DOMAIN", help="Of this site; `-` are those without one."),
        click.option("--reason", default="", metavar="TEXT", help="Refused for a reason that begins so."),
    ):
        function = option(function)
    return function


def _substitution(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> Substitution | None:
    if text is None:
        return None
    parts = re.split(rf"(?<!\\){re.escape(text[1:2])}", text[2:]) if text[:1] == "s" and text[1:2] else []
    if len(parts) != 3 or parts[2] not in ("", "g"):
        raise click.BadParameter(f"{text!r} is not of the form s/old/new/; any other character may stand for /")
    try:
        old, new = (part.replace(rf"\{text[1]}", text[1]).encode() for part in parts[:2])
        pattern = re.compile(old)
        re.sub(b"(?:)" + b"()" * pattern.groups, new, b"")  # which groups NEW may name
    except (re.error, IndexError) as error:
        raise click.BadParameter(f"{text!r}: {error}") from error
    return pattern, new


_with = click.option(
    "--with",
    "substitution",
    callback=_substitution,
    metavar="s/OLD/NEW/",
    help="Replace each match of the regular expression OLD by NEW.",
)


@dead_letters.command("list", cls=SettingsCommand)
@_chosen
@click.option("--all", "everything", is_flag=True, help="Those that were replayed or discarded, too.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest so many.")
@with_json
@with_settings
def list_(settings: Settings, everything: bool, limit: int, as_json: bool, **chosen: Any) -> None:
    """List the letters that wait, the newest first: id, time, site, reason, and how each begins."""
    from infra.processes.session import session

    shown, more = 0, False
    with session(settings, "footfall dead-letters list") as work:
        _refuse_unknown(work, chosen["site"])
        for letter in _found(work, _filter(**chosen) | {"all": everything}, limit + 1):
            if more := shown == limit:
                break
            shown += 1
            click.echo(json.dumps(_described(letter)) if as_json else "\t".join(_row(letter)))
    if more:
        click.echo(f"and more: these are the newest {limit}; --limit shows others", err=True)
    elif not shown:
        click.echo("No dead letters wait" if not everything else "No dead letters", err=True)


@dead_letters.command(cls=SettingsCommand)
@click.argument("letter_id", metavar="ID")
@with_json
@with_settings
def show(settings: Settings, letter_id: str, as_json: bool) -> None:
    """Show one letter: what was received, why it was refused, and what was done to it."""
    from infra.processes.session import session

    with session(settings, "footfall dead-letters show") as work:
        letter = _one(work, letter_id)
    told = _described(letter)
    if as_json:
        click.echo(json.dumps(told))
        return
    for name in ("id", "received_at", "topic", "site", "visitor", "reason", "detail", "length", "state"):
        click.echo(f"{name + ':':13} {_harmless(str(told[name]).encode())}")
    click.echo(f"sender:       {json.dumps(told['sender'])}\n")
    current = base64.b64decode(letter["current"])
    click.echo(_harmless(current) if sys.stdout.isatty() else current)


@dead_letters.command(cls=SettingsCommand)
@click.argument("letter_id", metavar="ID")
@click.option("--file", "source", type=click.File("rb"), metavar="FILE", help="What it should have been; `-` is stdin.")
@_with
@with_json
@with_settings
def edit(
    settings: Settings, letter_id: str, source: Any, substitution: Substitution | None, as_json: bool
) -> None:
    """Keep what a letter should have been, for its replay, and tell whether that would be accepted.

    What was received stays as it is. The letter's own time, visitor and place stay with it."""
    from infra.processes.session import session

    if (source is None) == (substitution is None):
        raise click.UsageError("give either --file or --with")
    with session(settings, "footfall dead-letters edit") as work:
        letter = _one(work, letter_id)
        if letter["deed"] == "replayed":
            raise Failed(f"{letter_id} was replayed on {_time(letter['deed_at'])}: its events are counted as they are")
        before = base64.b64decode(letter["current"])
        after = _bytes(source.read()) if source else _substituted(before, substitution)
        if after == before:
            raise Failed("nothing is changed by that")
        left = {letter_id: base64.b64encode(after).decode()}
        judged = next(iter(work.call("letters-replay", {"sent": left, "site": "", "dry_run": True})))
        for _ in work.call("letters-note", {"deed": "edited", "left": left}):
            pass
    _tell(judged | {"outcome": "edited"}, as_json)


@dead_letters.command(cls=SettingsCommand)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_chosen
@_with
@click.option("--give-site", default="", metavar="DOMAIN", help="The site of what does not name one.")
@click.option("--dry-run", is_flag=True, help="Only tell what would become of them.")
@with_json
@with_settings
def replay(
    settings: Settings,
    ids: tuple[str, ...],
    substitution: Substitution | None,
    give_site: str,
    dry_run: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Send letters through the front door again, as they are or mended: by ID, or all that wait and are chosen.

    Their events keep the time they were received, their visitor and place. A letter is taken whole or not at all; one
    that is refused again says why, and waits. A replay again adds nothing. Exit status 1 if any was refused."""
    from infra.processes.session import session

    wanted = _some(ids, chosen)
    counts = {"replayed": 0, "refused": 0, "events": 0}
    with session(settings, "footfall dead-letters replay") as work:
        _refuse_unknown(work, chosen["site"])
        _finish(work.call("load", {}))  # so that what is stored already is known
        for page in _pages(work, wanted):
            sent = {
                each["id"]: base64.b64encode(_substituted(base64.b64decode(each["current"]), substitution)).decode()
                for each in page
            }
            for line in work.call("letters-replay", {"sent": sent, "site": give_site, "dry_run": dry_run}):
                _tell(line, as_json)
                counts["refused" if line["outcome"] == "refused" else "replayed"] += 1
                counts["events"] += line["accepted"]
        if counts["events"] and not dry_run:
            _finish(work.call("load", {}))
            _finish(work.call("reconcile", {}))
    would = "would be " if dry_run else ""
    click.echo(f"{counts['events']} events {would}added; {counts['refused']} letters {would}refused again", err=True)
    raise click.exceptions.Exit(1 if counts["refused"] else 0)


@dead_letters.command(cls=SettingsCommand)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_chosen
@with_json
@with_settings
def discard(settings: Settings, ids: tuple[str, ...], as_json: bool, **chosen: Any) -> None:
    """Put letters aside that are not worth mending: by ID, or all that wait and are chosen. `list --all` shows them."""
    from infra.processes.session import session

    wanted, discarded = _some(ids, chosen), 0
    with session(settings, "footfall dead-letters discard") as work:
        _refuse_unknown(work, chosen["site"])
        for page in _pages(work, wanted):
            left = {each["id"]: each["current"] for each in page if each["deed"] not in ("replayed", "discarded")}
            _finish(work.call("letters-note", {"deed": "discarded", "left": left}))
            discarded += len(left)
            for each in page:
                told = {"id": each["id"], "outcome": "discarded" if each["id"] in left else f"{each['deed']} before"}
                click.echo(json.dumps(told) if as_json else "\t".join(told.values()))
    click.echo(f"{discarded} letters discarded", err=True)


def _refuse_unknown(work: Session, site: str) -> None:
    """Raises `click.BadParameter` for a `--site` that is not known; `-` is none."""
    if site not in ("", "-"):
        refuse_unknown_site(work, site)


def _filter(reason: str, site: str, first: datetime | None, last: datetime | None) -> Line:
    """The `Filter` of the options."""
    wanted: Line = {"reason": reason, "site": site.strip().lower().rstrip(".")}
    if first is not None:
        wanted["from_ms"] = _ms(first)
    if last is not None:
        wanted["to_ms"] = _ms(last + timedelta(days=1))
    return wanted


def _some(ids: tuple[str, ...], chosen: Line) -> Line:
    """The `Filter` of the ids or options. Raises `click.UsageError` for neither."""
    if not ids and not any(chosen.values()):
        raise click.UsageError("name letters by their ids, or choose some by --reason, --site, --from and --to")
    for each in ids:
        _checked(each)
    return _filter(**chosen) | ({"ids": ids, "all": True} if ids else {})


def _found(work: Session, wanted: Line, limit: int) -> Iterator[Line]:
    """The newest letters, at most `limit`, asked for a page at a time."""
    before = None
    while limit > 0:
        page = list(work.call("letters-find", {"wanted": wanted, "limit": min(limit, _PAGE), "before": before}))
        yield from page
        limit -= len(page)
        if len(page) < _PAGE:
            return
        before = [page[-1]["received_at"], page[-1]["id"]]


def _pages(work: Session, wanted: Line) -> Iterator[list[Line]]:
    """The letters that are wanted, in pages. Raises `Failed` if one that was named is not there."""
    ids = wanted.get("ids", ())
    for start in range(0, len(ids), _PAGE):
        some = ids[start : start + _PAGE]
        page = list(_found(work, wanted | {"ids": some}, _PAGE))
        if lost := sorted(set(some) - {each["id"] for each in page}):
            raise Failed(f"there is no dead letter {', '.join(lost)}")
        yield page
    before, more = None, not ids
    while more:
        page = list(work.call("letters-find", {"wanted": wanted, "limit": _PAGE, "before": before}))
        if more := len(page) == _PAGE:
            before = [page[-1]["received_at"], page[-1]["id"]]
        if page:
            yield page


def _one(work: Session, letter_id: str) -> Line:
    _checked(letter_id)
    (letter,) = next(_pages(work, {"ids": (letter_id,), "all": True}))
    return letter


def _checked(letter_id: str) -> None:
    if not re.fullmatch("[0-9a-f]{28}", letter_id):
        raise click.UsageError(f"{letter_id!r} is not the id of a dead letter: `footfall dead-letters list` shows them")


def _substituted(before: bytes, substitution: Substitution | None) -> bytes:
    return substitution[0].sub(substitution[1], before) if substitution else before


def _bytes(given: bytes) -> bytes:
    """What a file holds, without the line end that an editor adds."""
    return given.removesuffix(b"\n").removesuffix(b"\r")


def _described(letter: Line) -> Line:
    """A letter as `--json` has it: bytes that are text as text, others in base64."""
    told = {name: letter[name] for name in ("id", "topic", "reason", "detail", "site", "visitor", "length")}
    told |= {"received_at": _time(letter["received_at"]), "state": letter["deed"] or "waits"}
    told["state_at"] = _time(letter["deed_at"]) if letter["deed"] else None
    told["sender"] = json.loads(letter["sender"] or "{}")
    return told | {"received": _as_text(letter["received"]), "current": _as_text(letter["current"])}


def _as_text(encoded: str) -> Any:
    try:
        return base64.b64decode(encoded).decode()
    except UnicodeDecodeError:
        return {"base64": encoded}


def _harmless(current: bytes) -> str:
    """What anybody may have sent, with nothing in it that a terminal would obey."""
    text = current.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def _row(letter: Line) -> list[str]:
    begins = base64.b64decode(letter["current"])[:_SHOWN].decode("utf-8", "replace")
    shown = "".join(char if char.isprintable() else " " for char in begins)
    state = [letter["deed"]] if letter["deed"] else []
    where = letter["site"] or "-"
    return [letter["id"], _time(letter["received_at"]), where, letter["topic"], letter["reason"], *state, shown]


def _tell(line: Line, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(line))
        return
    why = [line["problem"]] if line["problem"] else [f"event {r['index']}: {r['detail']}" for r in line["refused"]]
    counted = f"{line['accepted']} events new, {line['duplicates']} stored already"
    click.echo("\t".join([line["id"], line["outcome"], *(why or [counted])]))


def _finish(lines: Iterator[Line]) -> None:
    for _ in lines:
        pass


def _ms(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp() * 1000)


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat("T", "milliseconds").replace("+00:00", "Z")
