"""The language of the pages: what a reader chose, else the browser's if there is a catalog, else English.

A text of the pages is its own key. What another language has for it is in `translations/LANGUAGE.po`; a text that is
not there stays English. The API, files, refusals and logs know one language.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import Flask, Response, current_app, g, has_request_context, redirect, request
from werkzeug.wrappers import Response as Redirect

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "de": "Deutsch"}
COOKIE = "footfall_language"

_FOLDER = Path(__file__).with_name("translations")
_CATALOGS = "footfall.catalogs"
_YEAR = 365 * 86_400  # seconds


def N_(text: str) -> str:  # noqa: N802 - the name by which tools that collect texts know it
    """A text of the pages that is translated where it is shown."""
    return text


# Texts of `stores`, which knows no languages.
_OF_STORES = (
    *(N_("weekly"), N_("monthly")),
    *(N_("the pages, the stats API and /metrics"), N_("statements of POST /sql"), N_("changes of a site")),
)


def current() -> str:
    """The language of the page that is being made, one of `LANGUAGES`."""
    if not has_request_context():
        return ENGLISH
    if "language" not in g:
        wanted = (request.args.get("lang", ""), request.cookies.get(COOKIE, ""))
        chosen = next((each for each in wanted if each in LANGUAGES), None)
        g.language = chosen or _of_browser()
    found: str = g.language
    return found


def _of_browser() -> str:
    """The language that the browser asks for first of those there are; that of Austria or Switzerland is German too."""
    asked = (tag.split("-")[0].lower() for tag, quality in request.accept_languages if quality > 0)
    return next((each for each in asked if each in LANGUAGES), ENGLISH)


def gettext(text: str) -> str:
    """The text in the language of the page."""
    found = _catalog()
    return str(found.ugettext(text)) if found else text


def ngettext(one: str, many: str, number: int) -> str:
    """One of two texts, by a number, in the language of the page."""
    found = _catalog()
    return str(found.ungettext(one, many, number)) if found else (one if number == 1 else many)


def register(app: Flask) -> None:
    """Reads the catalogs, and has the templates of an app use them.

    `lang` in an address chooses a language: a browser is led to the page itself, with a cookie that remembers it. In a
    share, which may be in a frame where no cookie is kept, links keep it instead (see `Links`). What is done before a
    request is done in the order in which it was registered, and no language is chosen for whoever the guard refuses."""
    app.extensions[_CATALOGS] = {language: _read(language) for language in LANGUAGES if language != ENGLISH}
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
    app.context_processor(_around)
    app.before_request(_remember)
    app.after_request(_vary)


def _catalog() -> Translations | None:
    if not has_request_context():
        return None
    found: Translations | None = current_app.extensions[_CATALOGS].get(current())
    return found


def _read(language: str) -> Translations:
    compiled = io.BytesIO()
    with (_FOLDER / f"{language}.po").open("rb") as file:
        write_mo(compiled, read_po(file, language))
    compiled.seek(0)
    return Translations(compiled)


def _around() -> dict[str, Any]:
    languages = LANGUAGES if request.method == "GET" else {}  # what a form led to has no address of its own
    return {"language": current(), "languages": languages, "in_language": _address}


def _address(language: str = "") -> str:
    """The page that is asked for, in another language."""
    given = [(name, value) for name, value in request.args.items(multi=True) if name != "lang"]
    query = urlencode([*given, ("lang", language)] if language else given)
    path = "/" + quote(request.path.lstrip("/"))  # what begins with two slashes is another host
    return f"{request.script_root}{path}{'?' if query else ''}{query}"


def _remember() -> Redirect | None:
    chosen = request.args.get("lang")
    page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    if chosen not in LANGUAGES or not page or request.script_root:
        return None
    response = redirect(_address(), 303)
    response.set_cookie(COOKIE, str(chosen), max_age=_YEAR, httponly=True, samesite="Lax")
    return response


def _vary(response: Response) -> Response:
    """Has caches know that the language matters."""
    if response.mimetype == "text/html":
        response.vary.update(("Accept-Language", "Cookie"))
    return response
