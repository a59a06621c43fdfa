"""Turns errors of brokers, stores and files into one sentence on stderr and exit status 1.

These error classes say whose fault it is and what to do; a traceback does not help somebody who only wanted to run a
command. Any other exception is our own mistake and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


class Failed(click.ClickException):
    """The command cannot do its work; the message says what to do about it. Exit status 1."""

    exit_code = 1


@contextmanager
def in_words() -> Iterator[None]:
    """Turns what brokers, stores, the sites file and the file system raise into `Failed`."""
    from brokers.base import BrokerError
    from ingest.sites import SitesError
    from stores.base import StoreError

    try:
        yield
    except (BrokerError, StoreError, SitesError) as error:
        raise Failed(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise Failed(f"{error.filename}: {error.strerror}; look at its kind, its owner and its permissions") from error


def words(error: BaseException) -> str:
    """The error on one line, by its class if it has no words."""
    return str(error).partition("\n")[0] or type(error).__name__
