"""gunicorn's threaded worker, for pages and API: Ctrl-C reaches it with the whole group, and means: drain."""

from __future__ import annotations

import signal

from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):
    """A request that came in is answered; SIGQUIT stays for the impatient."""

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGINT, self.handle_exit)
        signal.siginterrupt(signal.SIGINT, False)
