"""Walls that the kernel puts around this process: it reaches only some files, starts no program, opens no socket.

Landlock (Linux 5.13 and later) leaves the named folders, for reading or for writing. Seccomp refuses sockets, other
programs, other processes and ways around itself. Both need no privilege, bind root too, and cannot be taken off.
Threads that are started later inherit them; threads that run already do not. `confine` says which of the two are up:
another system, an older kernel or another processor has none.

The C library has wrappers for neither, so the numbers below are the kernel's own (landlock.h, filter.h, unistd.h).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable

WALLS = ("landlock", "seccomp")

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on every processor
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_FILTER = 38, 22, 2
# Rights over files, by the version of Landlock that introduced them. We give either the rights to read, list and run,
# or all rights but to run and to make devices, sockets and links.
_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_READING = 0b1101
_NEVER_WRITING = sum(1 << bit for bit in (0, 6, 9, 10, 11, 12))
_TCP, _SCOPED = 0b11, 0b11  # bind and connect; abstract sockets and signals

# socket, socketpair, bind, listen, accept, accept4, connect, execve, execveat, ptrace, process_vm_readv and _writev,
# kill, bpf, io_uring_setup, mount, unshare, setns, keyctl, pidfd_getfd, perf_event_open, userfaultfd
_REFUSED = {
    "x86_64": (
        0xC000003E,
        (41, 53, 49, 50, 43, 288, 42, 59, 322, 101, 310, 311, 62, 321, 425, 165, 272, 308, 250, 438, 298, 323),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 199, 200, 201, 202, 242, 203, 221, 281, 117, 270, 271, 129, 280, 425, 40, 97, 268, 219, 438, 241, 282),
    ),
}
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001
_X32 = 0x40000000  # x86_64's second numbering of the same calls


def confine(readable: Iterable[str], writable: Iterable[str]) -> list[str]:
    """Put up the walls that this system has; returns their names. Call it before there are threads.

    `readable` and `writable` are folders, which need not exist."""
    if not sys.platform.startswith("linux"):
        return []
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return []
    stand = []
    if _landlock(library, readable, writable):
        stand.append("landlock")
    if _seccomp(library):
        stand.append("seccomp")
    return stand


def _landlock(library: ctypes.CDLL, readable: Iterable[str], writable: Iterable[str]) -> bool:
    version = library.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    handled = sum(rights for since, rights in _RIGHTS.items() if since <= version)
    fields = [handled] + [_TCP] * (version >= 4) + [_SCOPED] * (version >= 6)
    ruleset = struct.pack(f"={len(fields)}Q", *fields)
    rules = library.syscall(_LANDLOCK_CREATE, ruleset, len(ruleset), 0)
    if rules < 0:
        return False
    try:
        for folders, rights in ((readable, _READING), (writable, handled & ~_NEVER_WRITING)):
            for folder in folders:
                if not _allow(library, rules, folder, rights & handled):
                    return False
        return not library.syscall(_LANDLOCK_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, folder: str, rights: int) -> bool:
    try:
        opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return not library.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)


def _seccomp(library: ctypes.CDLL) -> bool:
    """A filter by the number of a call: those listed fail with EPERM, all others go through."""
    if platform.machine() not in _REFUSED:
        return False
    processor, refused = _REFUSED[platform.machine()]
    steps = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, processor),
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, len(refused) + 1, 0, _X32),
        *((_EQUAL, len(refused) - at, 0, call) for at, call in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    described = struct.pack("@HP", len(steps), ctypes.addressof(program))
    return not library.prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, described, 0, 0)
