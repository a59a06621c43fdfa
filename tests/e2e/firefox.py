"""A real Firefox with a profile of its own, driven by the protocol that it speaks itself (Marionette).

Playwright drives no Firefox but its own build, and other drivers want a program between, which would have to be
installed apart. The protocol is JSON with its length in front: `[0, number, command, parameters]`, answered by
`[1, number, error, result]`; the commands are WebDriver's. What no page may do is done as Firefox's own code:
`Services`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.harness import PATIENCE, until
from tests.require import require
from tests.servers.process import free_port

LEFT, MIDDLE = 0, 1
# Of an offline browser nothing reaches this machine either; nothing is fetched that no page asked for; a file is saved.
_PREFERENCES = {
    "network.disable-localhost-when-offline": True,
    "browser.chrome.site_icons": False,
    "browser.download.alwaysOpenPanel": False,
    "browser.download.folderList": 2,
    "pdfjs.disabled": True,
}


class Refused(Exception):
    """Firefox did not do what it was told to; the words are its own."""


class Firefox:
    """One tab of it."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._stream = connected.makefile("rb")
        self._receive()  # who it is
        self._number = 0
        self._tell("WebDriver:NewSession")

    def open(self, address: str) -> None:
        self._tell("WebDriver:Navigate", url=address)

    def back(self) -> None:
        self._tell("WebDriver:Back")

    def do(self, script: str, *given: Any) -> Any:
        """What a script returns, in the page's own world; its `arguments` are what is given."""
        return self._tell("WebDriver:ExecuteScript", script=script, args=given, sandbox=None)["value"]

    def click(self, selector: str, button: int = LEFT) -> None:
        """Afterwards a page that opens in the tab is there."""
        element = self._find(selector)
        if button == LEFT:
            self._tell("WebDriver:ElementClick", id=_id(element))
            return
        turns = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": element},
            {"type": "pointerDown", "button": button},
            {"type": "pointerUp", "button": button},
        ]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": turns}
        self._tell("WebDriver:PerformActions", actions=[mouse])

    def write(self, selector: str, text: str) -> None:
        self._tell("WebDriver:ElementSendKeys", id=_id(self._find(selector)), text=text)

    def in_frame(self, script: str) -> Any:
        """What a script returns in the page's only frame."""
        self._tell("WebDriver:SwitchToFrame", id=0)
        try:
            return self.do(script)
        finally:
            self._tell("WebDriver:SwitchToFrame", id=None)

    def cookies(self) -> list[Any]:
        return list(self._tell("WebDriver:GetCookies"))

    def prefer(self, name: str, value: bool) -> None:
        """Set one of the switches of `about:config`."""
        self._itself("Services.prefs.setBoolPref(...arguments)", name, value)

    def be_offline(self, offline: bool) -> None:
        self._itself("Services.io.offline = arguments[0]", offline)

    def errors(self) -> list[str]:
        """What pages threw, and what their policy refused, since this was asked last."""
        script = """
            const all = Services.console.getMessageArray().filter(each => each instanceof Ci.nsIScriptError)
            Services.console.reset()
            const thrown = each => each.category == 'content javascript' && !(each.flags & each.warningFlag)
            const wrong = all.filter(each => thrown(each) || /CSP/.test(each.category))
            return wrong.map(each => `${each.category}: ${each.errorMessage} ${each.sourceName}`)"""
        return list(self._itself(script))

    def _itself(self, script: str, *given: Any) -> Any:
        self._tell("Marionette:SetContext", value="chrome")
        try:
            return self._tell("WebDriver:ExecuteScript", script=script, args=given)["value"]
        finally:
            self._tell("Marionette:SetContext", value="content")

    def _find(self, selector: str) -> dict[str, str]:
        return dict(self._tell("WebDriver:FindElement", using="css selector", value=selector)["value"])

    def _tell(self, command: str, **parameters: Any) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, number, error, result = self._receive()
        assert number == self._number
        if error:
            raise Refused(f"{command} {parameters}: {error['message']}")
        return result

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            read = self._stream.read(1)
            assert read, "Firefox is gone"
            length += read
        return json.loads(self._stream.read(int(length[:-1])))


def _id(element: dict[str, str]) -> str:
    return next(iter(element.values()))


@contextmanager
def running(folder: Path) -> Iterator[Firefox]:
    """Firefox while it runs; its profile, what it downloads and its log are in the folder."""
    binary = shutil.which("firefox-esr") or shutil.which("firefox")
    require("firefox", binary is not None, "apt-get install firefox-esr")
    port, log = free_port(), folder / "log"
    chosen = _PREFERENCES | {"marionette.port": port, "browser.download.dir": str(folder)}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in chosen.items()]
    (folder / "user.js").write_text("\n".join(lines), encoding="utf-8")
    line = [str(binary), "--headless", "--marionette", "--remote-allow-system-access", "--profile", str(folder)]
    with log.open("wb") as said:
        process = subprocess.Popen(line, stdout=said, stderr=said, env=os.environ | {"HOME": str(folder)})

    def connected() -> socket.socket | None:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            return socket.create_connection(("127.0.0.1", port), 2 * PATIENCE)
        except OSError:
            return None

    try:
        with until(connected, "Firefox listens") as driver:
            yield Firefox(driver)
    finally:
        process.terminate()
        process.wait(PATIENCE)
