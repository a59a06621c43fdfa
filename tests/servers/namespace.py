"""A network of its own for servers that open ports to the world: a Linux network namespace with only a loopback.

What runs in it sees the same files, and nobody outside reaches its ports, nor does it reach any outside. A small
process holds it; `Namespace.inside` is what goes before a command that is to run in it.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.servers.process import ROOT, NotStarted, Server

_SIOCSIFFLAGS = 0x8914
_UP_AND_RUNNING = 0x41


def _unshare() -> list[str]:
    """The command that makes one: as root simply, else as a user who is root of a user namespace of its own."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        raise NotStarted("a network namespace takes Linux with util-linux: apt-get install util-linux")
    said = ""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode == 0:
            return command
        said = done.stderr.strip()
    raise NotStarted(
        f"no network namespace can be made here ({said}): run as root with CAP_SYS_ADMIN (docker run --cap-add "
        "SYS_ADMIN), or let users make them (sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
    )


def available() -> str:
    """Empty when one can be made here, else why not and what to do."""
    try:
        _unshare()
    except NotStarted as missing:
        return str(missing)
    return ""


class Namespace(Server):
    """The process that holds a network namespace; where it runs is no address."""

    def __init__(self, folder: Path) -> None:
        super().__init__("network namespace", folder)

    def start(self) -> None:
        """Make it unless it is there."""
        with self.locked():
            if self.pid() is None:
                command = [*_unshare(), sys.executable, "-m", "tests.servers.namespace", str(self.folder)]
                self.spawn(
                    command, 0, lambda: "the loopback is up" in self.log.read_text(), env={"PYTHONPATH": str(ROOT)}
                )

    def inside(self) -> list[str]:
        """What goes before a command, which then runs in it. Raises `NotStarted` when it is not there."""
        pid = self.pid()
        if pid is None:
            raise NotStarted(f"there is no network namespace in {self.folder}: start it first")
        owned = Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
        return ["nsenter", f"--target={pid}", *(["--user", "--preserve-credentials"] if owned else []), "--net"]


def _hold() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_AND_RUNNING))
    sys.stdout.write("the loopback is up\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    _hold()
