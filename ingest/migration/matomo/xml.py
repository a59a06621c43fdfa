"""The rows of an answer of Matomo's API as XML, piece by piece. A document type, which it never has, is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.parsers import expat  # no entities: what declares them is refused

from ingest.logs.files import ImportFailed
from ingest.migration.export import Broken
from ingest.migration.members import Member

_PIECE = 1 << 16  # bytes
_OF = ("date", "idSite")  # attributes that say what is in an element
_DEEPEST = 20  # elements in one another


class _Open:
    """An element that is not over: its name, the line where it begins, its text, and the elements in it."""

    def __init__(self, name: str, number: int, of: dict[str, str]) -> None:
        self.name = name
        self.of = of  # the day and site that it is of, where it or one around it says so
        self.number = number
        self.text: list[str] = []
        self.inner: dict[str, Any] = {}
        self.rows: list[Any] = []
        self.has_inner = False  # rows or results, which are found by themselves

    def value(self) -> Any:
        """What it stands for: its text, its fields, or a list of its rows."""
        return self.rows or self.inner or "".join(self.text).strip()


class _Reader:
    """Gathers the rows that are not in other rows."""

    def __init__(self, name: str) -> None:
        self.found: list[tuple[int, dict[str, Any]]] = []
        self._name = name
        self._open: list[_Open] = []
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.buffer_text = True

    def _doctype(self, *_: object) -> None:
        raise ImportFailed(f"{self._name} has a DOCTYPE: it is no answer of Matomo's API")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "error":
            raise ImportFailed(f"{self._name}: Matomo's answer is: {attributes.get('message', '')}")
        if len(self._open) == _DEEPEST or (not self._open and name not in ("result", "results")):
            raise ImportFailed(f"{self._name}: <{name}> is no answer of Matomo's API, which begins with <result>")
        of = {key: attributes[key] for key in _OF if key in attributes}
        around = self._open[-1].of if self._open else {}
        self._open.append(_Open(name, self.parser.CurrentLineNumber, around | of))

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if element.name == "row" and not any(outer.name == "row" for outer in self._open):
            self.found.append((element.number, element.of | element.inner))
        elif element.name == "result" and "date" in element.of and not element.has_inner:
            # The numbers of a day, or nothing of it.
            fields = {name: value for name, value in element.inner.items() if name != "row"}
            self.found.append((element.number, element.of | fields))
            if self._open:
                self._open[-1].has_inner = True
        elif self._open and element.name == "row":
            self._open[-1].rows.append(element.value())
        elif self._open:
            self._open[-1].inner[element.name] = element.value()
        if self._open and element.name in ("row", "result"):
            self._open[-1].has_inner = True

    def _data(self, text: str) -> None:
        if self._open and not self._open[-1].inner:
            self._open[-1].text.append(text)


def rows(member: Member) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """Yield the rows, which may be visits, with the line where each begins. Raises ImportFailed for other XML."""
    reader = _Reader(member.name)
    with member.opened() as stream:
        while True:
            piece = stream.read(_PIECE)
            fault = ""
            try:
                reader.parser.Parse(piece, not piece)
            except (expat.ExpatError, LookupError) as error:  # no XML, or of an encoding that nobody knows
                fault = str(error)
            for number, row in reader.found:
                yield number, {"actionDetails": [], **row} if row.get("actionDetails") == "" else row
            reader.found.clear()
            if fault:
                yield Broken(reader.parser.CurrentLineNumber, b"", f"the XML breaks off: {fault}")
            if fault or not piece:
                return
