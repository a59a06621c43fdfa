"""`/dead-letters`: what was not understood, to be looked at, mended and replayed, for who may change all sites.

A repair goes through the front door, which the dashboards do not know: it comes as a callable. Without it letters are
only shown.
"""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response as Redirect

from dashboards import pages
from dashboards.access import audit
from dashboards.context import built, current_context
from dashboards.language import gettext
from dashboards.parameters import one_of
from stores.base import StoreError
from stores.letters import Filter, Letter, Letters, received_at

routes = Blueprint("letters", __name__)
routes.register_error_handler(StoreError, pages.failed)

PAGE = 50
_DEEDS = ("replay", "keep", "discard")


@routes.get("/dead-letters")
def show() -> str:
    """The letters that wait, the newest first, a page at a time."""
    return _page()


@routes.post("/dead-letters")
def change() -> str | tuple[str, int] | Redirect:
    """Replays a letter as the form has it, keeps that for later, or puts the letter aside."""
    context = current_context()
    deed = one_of(request.form, "deed", _DEEDS)
    letters = Letters(context.warehouse)
    letter = _letter(letters, request.form.get("id", ""))
    if context.replay is None:
        return _page(gettext("This process does not load events: nothing can be changed here.")), 409
    if letter.deed == "replayed":
        return _page(gettext("It was replayed before.")), 409
    sent = _sent(letter)
    if deed == "replay":
        if why := context.replay(letter.id, sent):
            return _page(why, letter, sent), 400
    else:
        letters.note("edited" if deed == "keep" else "discarded", [(letter.id, sent)], context.clock())
    audit.record(f"{deed} of a dead letter", letter.id)
    return redirect(url_for("letters.show", done=deed), 303)


def _letter(letters: Letters, its_id: str) -> Letter:
    try:
        received_at(its_id)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    found = letters.find(Filter(ids=(its_id,), all=True), 1)
    if not found:
        raise NotFound(f"there is no dead letter {its_id}")
    return found[0]


def _sent(letter: Letter) -> bytes:
    """The bytes of the form; those of the letter where nothing was changed, or where they are no text."""
    before, given = as_text(letter.current), request.form.get("text")
    if before is None or given is None or _lines(given) == _lines(before):
        return letter.current
    return _lines(given).encode()


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")  # which a browser sends for each end of a line


def as_text(value: bytes) -> str | None:
    """What was received as text; None where it is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _page(wrong: str = "", at: Letter | None = None, sent: bytes = b"") -> str:
    context, letters = current_context(), Letters(current_context().warehouse)
    wanted = Filter(site=request.args.get("site", ""), reason=request.args.get("reason", ""))
    if before := request.args.get("before", ""):
        found = letters.find(wanted, PAGE + 1, (received_at(_checked(before)), before))
    else:
        found = letters.find(wanted, PAGE + 1)
    shown = [letter for letter in found[:PAGE] if at is None or letter.id != at.id]
    return render_template(
        "letters.html",
        title=gettext("Dead letters"),
        letters=[*([(at, as_text(sent))] if at else []), *((each, as_text(each.current)) for each in shown)],
        at=at,
        wanted=wanted,
        after=found[PAGE - 1].id if len(found) > PAGE else "",
        may_change=context.replay is not None,
        done=request.args.get("done", ""),
        wrong=wrong,
        built=built(),
    )


def _checked(its_id: str) -> str:
    try:
        received_at(its_id)
    except ValueError as error:
        raise BadRequest(f"before: {error}") from error
    return its_id
