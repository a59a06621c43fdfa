"""What happens to a machine and not to a program: its clock is set, and its disk is full and has room again.

Both touch only what is given `Clock.env`, or lies on the disk. libfaketime is no help with the clock: under it the
sleep of Python 3.11 and later fails once the monotonic clock is left alone. So a small library of our own is compiled;
what is linked statically, such as the embedded engine, does not see it.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

DAY_S = 86_400
_ROOM = "8g"  # at most; memory is taken as files grow


class Clock:
    """The time of day of some processes, so many seconds `off`."""

    def __init__(self, folder: Path) -> None:
        """Raises RuntimeError where it cannot be made, with what is missing."""
        self.off = 0
        self._file = folder / "clock"
        self._file.write_bytes(struct.pack("=q", 0))
        compiler, library = shutil.which("cc"), folder / "clock.so"
        if not sys.platform.startswith("linux") or compiler is None:
            raise RuntimeError("it needs Linux and a C compiler, cc: apt-get install gcc libc6-dev")
        source = Path(__file__).with_name("clock.c")
        line = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{compiler} does not compile it: {done.stderr}")
        self.env = {"LD_PRELOAD": str(library), "FOOTFALL_TEST_CLOCK": str(self._file)}

    def set(self, off: int) -> None:
        """Let it be so many seconds off from now on."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", off))
        self.off = off

    def now_ms(self) -> int:
        """Unix ms, as these processes have it."""
        return time.time_ns() // 1_000_000 + self.off * 1000


class Disk:
    """A file system of its own at `path`, in memory, for as long as the mount namespace of this process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700)
        self._mount("-t", "tmpfs", "-o", f"size={_ROOM},mode=700", "tmpfs")

    @contextmanager
    def full(self) -> Iterator[None]:
        """While the block runs nothing has room; what is deleted meanwhile makes none."""
        over = Event()
        filling = Thread(target=self._fill, args=(over,))
        filling.start()
        try:
            yield
        finally:
            over.set()
            filling.join()
            self._mount("-o", f"remount,size={_ROOM}")

    def _fill(self, over: Event) -> None:
        while not over.wait(0.05):
            found = os.statvfs(self.path)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            # Refused when more is used by now.
            subprocess.run(["mount", "-o", f"remount,size={used}", self.path], capture_output=True, check=False)

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments, str(self.path)], check=True)


def may_mount() -> bool:
    """Whether a process here may have mounts of its own."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
