"""Workers: Python processes that run a graph's steps for a runner elsewhere, kept warm from one job to the next.

`footfall workers` serves a pool for Beam's EXTERNAL environment: one stands beside each Flink TaskManager, which asks
it for a worker when a job begins. Beam's own pool starts a Python for every job, and importing Beam and Polars takes
seconds of CPU; here a process that has finished its job waits for the next one, with all that it has imported and
opened. Workers are processes and not threads, so they use all cores, and one may be killed without the others.

The pool listens on 127.0.0.1 only: whoever reaches it can have any code run. A worker, in turn, connects to the
runner's ports, which Beam and Flink open on every interface without authentication: keep them in a private network.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.utils.sentinel import Sentinel
from apache_beam.utils.thread_pool_executor import UnboundedThreadPoolExecutor

HOST = "127.0.0.1"
# What the product's graphs need: imported before a worker says that it is ready.
_WARM = ("pipeline.graph", "pipeline.io")
# A worker that its runner has let go of ends by itself when its connection is closed; else it is killed after so long.
_SECONDS_TO_END = 10.0
_LAST_WORDS = 4_000

Died = Callable[[str], None]


@dataclass(frozen=True)
class Command:
    """How one process of a pool is started: `words` in the end call `work`; `environment` None is that of this process.

    Secrets go into the environment, because everybody on a machine can read the words."""

    words: Sequence[str]
    environment: Mapping[str, str] | None = field(default=None, repr=False)


class _Worker:
    """One process of a pool, and the job's worker id it serves now."""

    def __init__(self, command: Command, log: IO[bytes] | None) -> None:
        self.log = log
        self.serves = ""
        self.job = 0  # how many it has served, this one included
        self.died: Died | None = None
        self.process = subprocess.Popen(
            command.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=command.environment,
            start_new_session=True,  # Ctrl-C is for the driver, which cancels what runs and then closes the pool
        )

    def assign(self, worker_id: str, control: str) -> None:
        assert self.process.stdin is not None
        if self.log is not None:
            self.log.truncate(0)  # the process appends
        self.process.stdin.write(json.dumps({"id": worker_id, "control": control}).encode() + b"\n")
        self.process.stdin.flush()

    def last_words(self) -> str:
        """How it ended, and the end of what it printed."""
        status = self.process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        if self.log is None:
            return how
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - _LAST_WORDS))
        return f"{how}; its last words: {self.log.read().decode(errors='replace').strip() or 'none'}"


class WorkerPool:
    """Processes that serve as Beam workers. Safe for threads.

    With `quiet` what they print is kept and shown only if one dies; otherwise it goes to standard error."""

    def __init__(self, size: int, command: Command, *, quiet: bool = False) -> None:
        self._command = command
        self._quiet = quiet
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._closed = False
        for _ in range(size):
            self._idle.append(self._spawn())

    def start(self, worker_id: str, control: str, died: Died | None = None) -> None:
        """Have a process serve the runner at `control` (host:port) as `worker_id`; one is started if none is idle.

        `died` is told how the process ended, if that was before the runner closed the connection."""
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else self._spawn()
                if worker.process.poll() is not None:  # it was killed while idle
                    continue
                worker.serves, worker.died, worker.job = worker_id, died, worker.job + 1
            try:
                worker.assign(worker_id, control)
            except BrokenPipeError:  # only now
                worker.died = None
                continue
            return

    def stop(self, worker_id: str) -> None:
        """Free the process that serves `worker_id`: it becomes idle when its connection closes, else it is killed.

        Flink gives the workers of every job the same ids. Of two jobs at once none is killed."""
        with self._lock:
            found = [worker for worker in self._workers if worker.serves == worker_id]
        if len(found) == 1:
            found[0].died = None
            timer = threading.Timer(_SECONDS_TO_END, self._kill_if_serving, (found[0], found[0].job))
            timer.daemon = True
            timer.start()

    def pids(self) -> list[int]:
        """The processes, those that serve a runner first."""
        with self._lock:
            return [worker.process.pid for worker in sorted(self._workers, key=lambda worker: not worker.serves)]

    def close(self) -> None:
        """End every process."""
        with self._lock:
            self._closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.died = None
            if worker.serves:
                worker.process.kill()
            elif worker.process.stdin is not None:
                worker.process.stdin.close()
        for worker in workers:
            try:
                worker.process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                worker.process.kill()

    def _spawn(self) -> _Worker:
        worker = _Worker(self._command, tempfile.TemporaryFile("a+b") if self._quiet else None)  # noqa: SIM115 (as long as the process)
        self._workers.append(worker)
        threading.Thread(target=self._attend, args=(worker,), name="worker", daemon=True).start()
        return worker

    def _attend(self, worker: _Worker) -> None:
        """Note when the process has finished a job, and when it ends."""
        assert worker.process.stdout is not None
        for _ in worker.process.stdout:
            with self._lock:
                worker.serves, worker.died = "", None
                self._idle.append(worker)
        worker.process.wait()
        with self._lock:
            self._workers.remove(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            died = None if self._closed else worker.died
        if died is not None:
            died(worker.last_words())
        for pipe in (worker.process.stdin, worker.process.stdout, worker.log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _kill_if_serving(self, worker: _Worker, job: int) -> None:
        with self._lock:
            if worker.serves and worker.job == job:
                worker.process.kill()


class _Service(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Beam's worker pool protocol over a `WorkerPool`."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def StartWorker(self, request: Any, _context: Any) -> Any:  # noqa: N802 (the protocol's name)
        """Answer with an error's text, as the protocol has it, and not with a gRPC status."""
        try:
            self._pool.start(request.worker_id, request.control_endpoint.url)
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"no worker could be started: {error}")
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Free a worker."""
        self._pool.stop(request.worker_id)
        return beam_fn_api_pb2.StopWorkerResponse()


class PoolServer:
    """Serves a pool to runners on 127.0.0.1. Port 0 is any free one. Raises `OSError` if the port is taken."""

    def __init__(self, pool: WorkerPool, port: int = 0) -> None:
        # Without the option a second pool on the port would be given every other request instead of being refused.
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.max_ping_strikes", 0),
        ]
        self._server = grpc.server(UnboundedThreadPoolExecutor(), options=options)
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(_Service(pool), self._server)
        try:
            bound = self._server.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError as error:
            raise OSError(f"port {port} of {HOST} is taken: give the pool another one") from error
        self._server.start()
        self.address = f"{HOST}:{bound}"

    def close(self) -> None:
        """Stop taking requests."""
        self._server.stop(None).wait()


def work() -> None:
    """Serve one runner after the other, as standard input says; say on standard output when one is done."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a step prints is no answer
    for module in _WARM:
        importlib.import_module(module)
    logging.getLogger("apache_beam.runners.worker.data_plane").setLevel(logging.CRITICAL)
    threading.excepthook = _excepthook
    for line in sys.stdin.buffer:
        assignment = json.loads(line)
        _serve(SdkHarness(assignment["control"], worker_id=assignment["id"]))
        answers.write(b"idle\n")


def _serve(harness: Any) -> None:
    """Serve a runner until it closes the connection and every step has ended, which is when no write can follow."""
    harness._worker_thread_pool = UnboundedThreadPoolExecutor()  # instead of one that is shared and never waited for
    try:
        harness.run()
    except grpc.RpcError:  # how Flink closes it most of the time; Beam stops in the middle of its cleaning up then
        harness._responses.put(Sentinel.sentinel)
        for channel in list(harness._data_channel_factory._data_channel_cache.values()):
            with contextlib.suppress(grpc.RpcError):
                channel.close()
        harness._worker_thread_pool.shutdown()
        harness._state_handler_factory.close()
        harness._bundle_processor_cache.shutdown()


def _excepthook(arguments: threading.ExceptHookArgs) -> None:
    """Say nothing of connections that the runner closes: each of Beam's threads would print it after each job."""
    if not isinstance(arguments.exc_value, grpc.RpcError):
        threading.__excepthook__(arguments)


@contextlib.contextmanager
def serve(command: Command, processes: int, port: int) -> Iterator[str]:
    """Serve a pool while the block lasts; gives its address. Raises `OSError` if the port is taken."""
    pool = WorkerPool(processes, command)
    try:
        server = PoolServer(pool, port)
        try:
            yield server.address
        finally:
            server.close()
    finally:
        pool.close()
