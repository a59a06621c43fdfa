"""Crash points: Python runs this file at the start of a process that has its folder on PYTHONPATH.

It watches the functions that `points` names in the folder FOOTFALL_TEST_CRASH, from the moment their module is
imported. Once a call is the one that `order` asks for there, the process renames that file to `fired` and is killed,
by SIGKILL, before or after the call. See `tests/e2e/crashing.py`, which writes both files."""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import json
import os
import signal
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

_FOLDER = Path(os.environ["FOOTFALL_TEST_CRASH"])
_ORDER, _FIRED = _FOLDER / "order", _FOLDER / "fired"
_POINTS: defaultdict[str, list[str]] = defaultdict(list)
for _line in (_FOLDER / "points").read_text().split():
    _module, _, _name = _line.partition(":")
    _POINTS[_module].append(_name)

_calls: Counter[str] = Counter()  # by order, of this process
_lock = threading.Lock()


def _due(point: str, arguments: tuple[Any, ...]) -> dict[str, Any] | None:
    """The order, if it is about this call. A call that hands over no rows is none."""
    try:
        text = _ORDER.read_text()
    except FileNotFoundError:
        return None
    order: dict[str, Any] = json.loads(text)
    frames = [each for each in arguments if hasattr(each, "is_empty")]
    if order["point"] != point or (frames and all(each.is_empty() for each in frames)):
        return None
    if order["about"] not in " ".join(repr(each) for each in arguments if not hasattr(each, "is_empty")):
        return None
    with _lock:
        _calls[text] += 1
        return order if _calls[text] == order["nth"] else None


def _die(order: dict[str, Any]) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        _ORDER.rename(_FIRED)
        os.killpg(0, signal.SIGKILL) if order["whole"] else os.kill(os.getpid(), signal.SIGKILL)


def _watched(point: str, function: Any) -> Any:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        order = _due(point, arguments[1:])
        if order and order["when"] == "before":
            _die(order)
        answer = function(*arguments, **named)
        if order:
            _die(order)
        return answer

    return call


class _Finder(importlib.abc.MetaPathFinder):
    """Has the modules with points watched once they are executed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in _POINTS:
            return None
        others = (each for each in sys.meta_path if each is not self)
        spec = next(filter(None, (each.find_spec(name, path, target) for each in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def executed(module: Any) -> None:
                execute(module)
                for of_module in _POINTS[name]:
                    owner, _, attribute = of_module.rpartition(".")
                    holder = functools.reduce(getattr, filter(None, owner.split(".")), module)
                    setattr(holder, attribute, _watched(f"{name}:{of_module}", getattr(holder, attribute)))

            spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Finder())
