"""Runs a graph on workers of other processes: on a Flink cluster, or in processes of this machine.

`executor(url)` reads where:

- `flink://HOST:PORT` is Beam's job service in front of a Flink cluster. `workers=HOST:PORT` is where each TaskManager
  finds its pool (`footfall workers`); without it, workers are processes of this machine, which then has to be the
  TaskManagers' too. `rest=HOST:PORT` is Flink's REST, without which a job cannot be cancelled: Beam's own call says
  CANCELLED and lets it run on. `parallelism=N` is the job's, `processes=N` how many workers a TaskManager uses,
  `timeout=S` how many seconds a job may take.
- `processes://N` is Beam's in-process runner with N workers, a way to use all cores of one machine.

A step that fails in a worker comes back as text. `fault` finds in it the `BrokerError` or `StoreError` that the step
raised, because callers retry by the type. Flink repeats a failed job by the restart strategy of its configuration:
an exponential delay that grows beyond the heartbeat time-out, so that a lost TaskManager does not use up the attempts,
and a bound on the attempts, because a permanent error is repeated as well.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import (
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.pipeline_utils import group_by_key_input_visitor
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableMetrics
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from brokers.base import BrokerError
from pipeline.workers import Command, PoolServer, WorkerPool
from stores.base import StoreError

Counters = dict[str, int]

_OPTIONS = ("workers", "rest", "parallelism", "processes", "timeout")  # of flink://
_JOB_SERVER_SECONDS = 30.0
_DAY_SECONDS = 86_400.0
_POLL_SECONDS = 5.0
_CANCEL_SECONDS = 30.0
_ENDED = frozenset({"FINISHED", "CANCELED", "FAILED"})  # Flink's words for a job that does nothing more


class RunnerError(Exception):
    """The base of what goes wrong with a runner itself, not with a step. The message says what to do next."""


class InvalidRunner(RunnerError, ValueError):
    """The URL of a runner is wrong."""


class RunnerUnreachable(RunnerError):
    """The job service does not answer."""


class JobFailed(RunnerError):
    """The job ended without being done, and no step said why in a class of the product."""


class Executor(Protocol):
    """Runs graphs in Beam's portable form."""

    def execute(self, graph: beam_runner_api_pb2.Pipeline, name: str) -> Counters:
        """Run a graph to its end; returns Beam's counters as {"step.counter": n}.

        `name` is the job's. Raises `RunnerError`, or the `BrokerError` or `StoreError` of the step that failed.
        KeyboardInterrupt cancels the job."""

    def close(self) -> None:
        """End the workers that this executor started."""


def executor(url: str, command: Command) -> Executor:
    """The executor of a URL; see the module. `command` starts a worker process. Raises `InvalidRunner`."""
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(given)
    try:
        if len(options) < len(given) or parts.path or parts.fragment or "@" in parts.netloc:
            raise ValueError("an option is given twice, or there is a path or a user in it")
        if parts.scheme == "processes":
            if options:
                raise ValueError("it takes no options")
            return ProcessExecutor(_positive(parts.netloc, "the number of processes"), command)
        if parts.scheme == "flink":
            if unknown := options.keys() - _OPTIONS:
                raise ValueError(f"there is no option {min(unknown)} ({', '.join(_OPTIONS)})")
            return FlinkExecutor(
                _address(parts.netloc, "the job service"),
                workers=_address(options["workers"], "workers") if "workers" in options else "",
                rest=_address(options["rest"], "rest") if "rest" in options else "",
                parallelism=_positive(options.get("parallelism", "1"), "parallelism"),
                processes=_positive(options.get("processes", "1"), "processes"),
                timeout=_positive(options.get("timeout", str(int(_DAY_SECONDS))), "timeout"),
                command=command,
            )
        raise ValueError("it begins with neither flink:// nor processes://")
    except ValueError as error:
        raise InvalidRunner(
            f"{url} names no runner: {error}. Write flink://HOST:PORT?workers=HOST:PORT&rest=HOST:PORT&parallelism=N "
            "or processes://N"
        ) from None


def _positive(text: str, what: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{what} is to be a number from 1 on, not {text!r}")
    return int(text)


def _address(text: str, what: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{what} is to be HOST:PORT, not {text!r}")
    return text


def compile_graph(construct: Callable[[beam.Pipeline], object]) -> beam_runner_api_pb2.Pipeline:
    """Translate a graph to Beam's portable form. `construct` applies the transforms to an empty pipeline."""
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(flags=[]))
    construct(pipeline)
    pipeline.visit(group_by_key_input_visitor())
    compiled: beam_runner_api_pb2.Pipeline = pipeline.to_runner_api(
        default_environment=EmbeddedPythonEnvironment.default()
    )
    return compiled


class ProcessExecutor:
    """Beam's in-process runner with workers in `processes` processes, which stay for the next graph.

    Beam's own mode for this (`--direct_running_mode=multi_processing`) starts new Pythons for each run and waits for
    ever for one that was killed; here that is a `JobFailed`."""

    def __init__(self, processes: int, command: Command) -> None:
        self._processes = processes
        self._pool = WorkerPool(processes, command, quiet=True)
        self._urn = f"footfall:env:pool:{uuid.uuid4().hex}"
        WorkerHandler.register_environment(self._urn, bytes)(functools.partial(_PoolWorker, self._pool))

    def execute(self, graph: beam_runner_api_pb2.Pipeline, name: str) -> Counters:  # noqa: ARG002 (Flink has names)
        """Run a graph to its end; see `Executor`."""
        runner = FnApiRunner()
        runner._num_workers = self._processes  # it reads the option only where it is given a pipeline to translate
        try:
            result = runner.run_via_runner_api(_in_environment(graph, self._urn, b""), PipelineOptions(flags=[]))
        except RuntimeError as error:
            raise fault(str(error)) from error
        return _counters(result.metrics())

    def pids(self) -> list[int]:
        """The worker processes."""
        return self._pool.pids()

    def close(self) -> None:
        """End the processes."""
        self._pool.close()
        WorkerHandler._registered_environments.pop(self._urn, None)


class _PoolWorker(GrpcWorkerHandler):
    """How Beam's in-process runner has a worker of a pool."""

    def __init__(self, pool: WorkerPool, _payload: bytes, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pool = pool
        self._stopped = threading.Event()

    def start_worker(self) -> None:
        """Have a process of the pool connect to the runner."""
        self._pool.start(self.worker_id, self.control_address, self._died)

    def stop_worker(self) -> None:
        """Give the process back."""
        self._stopped.set()
        self._pool.stop(self.worker_id)

    def _died(self, last_words: str) -> None:
        lost = RuntimeError(f"a worker process {last_words}")
        while not self._stopped.wait(0.1):  # what the runner asks of the worker later would wait for ever, too
            for future in list(self.control_conn._futures_by_id.values()):
                future.abort(lost)


class FlinkExecutor:
    """A Flink cluster behind Beam's job service."""

    def __init__(
        self,
        jobs: str,
        *,
        workers: str,
        rest: str,
        parallelism: int,
        processes: int,
        timeout: float,
        command: Command,
    ) -> None:
        self._command = command
        self._jobs = jobs
        self._workers = workers
        self._rest = rest
        self._parallelism = parallelism
        self._processes = processes
        self._timeout = timeout
        self._own: tuple[WorkerPool, PoolServer] | None = None

    def execute(self, graph: beam_runner_api_pb2.Pipeline, name: str) -> Counters:
        """Run a graph to its end; see `Executor`. Jobs of the same name that still run are cancelled before."""
        external = beam_runner_api_pb2.ExternalPayload(endpoint=endpoints_pb2.ApiServiceDescriptor(url=self._pool()))
        urn = common_urns.environments.EXTERNAL.urn
        placed = _in_environment(graph, urn, external.SerializeToString())
        with grpc.insecure_channel(self._jobs, [("grpc.max_receive_message_length", -1)]) as channel:
            self._connect(channel)
            self._cancel(name)
            service = beam_job_api_pb2_grpc.JobServiceStub(channel)
            try:
                return self._run(service, placed, name)
            except grpc.RpcError as error:
                raise RunnerUnreachable(
                    f"the job service at {self._jobs} stopped answering ({_said(error)}): look at its log, and in "
                    f"Flink for the job {name}, which may still run"
                ) from error

    def close(self) -> None:
        """End the workers of this machine, if it started any."""
        if self._own is not None:
            pool, server = self._own
            self._own = None
            server.close()
            pool.close()

    def _pool(self) -> str:
        if self._workers:
            return self._workers
        if self._own is None:
            pool = WorkerPool(self._processes, self._command, quiet=True)
            self._own = pool, PoolServer(pool)
        return self._own[1].address

    def _connect(self, channel: grpc.Channel) -> None:
        try:
            grpc.channel_ready_future(channel).result(timeout=_JOB_SERVER_SECONDS)
        except grpc.FutureTimeoutError:
            raise RunnerUnreachable(
                f"nothing answers as Beam's job service at {self._jobs} within {_JOB_SERVER_SECONDS:.0f} s: correct the"
                " URL, or start Beam's Flink job server there (beam-runners-flink; --flink-master names the cluster)"
            ) from None

    def _run(self, service: Any, graph: beam_runner_api_pb2.Pipeline, name: str) -> Counters:
        flags = [
            f"--job_name={name}",
            f"--parallelism={self._parallelism}",
            f"--sdk_worker_parallelism={self._processes}",
            f"--job_server_timeout={int(_JOB_SERVER_SECONDS)}",
        ]
        handle = JobServiceHandle(service, PipelineOptions(flags))
        job = ""
        try:
            job, messages, _ = handle.submit(graph)
            state, said = self._wait(service, job, messages)
        except BaseException:
            self._abandon(service, job, name)
            raise
        if state != "DONE":
            text = "\n".join(said) or f"the job {name} ended as {state}; Flink's log says why"
            raise fault(text) from RuntimeError(text)
        metrics = service.GetJobMetrics(beam_job_api_pb2.GetJobMetricsRequest(job_id=job), timeout=_JOB_SERVER_SECONDS)
        return _counters(PortableMetrics(metrics))

    def _wait(self, service: Any, job: str, messages: Iterator[Any]) -> tuple[str, list[str]]:
        """Wait until the job has ended; returns its last state and the errors it told of."""
        said: list[str] = []
        ended = threading.Event()

        def read() -> None:
            try:
                for message in messages:
                    response = message.message_response
                    if response.importance == beam_job_api_pb2.JobMessage.JOB_MESSAGE_ERROR:
                        said.append(response.message_text)
                    if message.HasField("state_response") and _state(message.state_response) in _TERMINAL:
                        break
            except grpc.RpcError:
                pass  # asking for the state says why
            finally:
                ended.set()

        threading.Thread(target=read, name="job messages", daemon=True).start()
        deadline = time.monotonic() + self._timeout
        while True:
            ended.wait(_POLL_SECONDS)
            request = beam_job_api_pb2.GetJobStateRequest(job_id=job)
            state = _state(service.GetState(request, timeout=_JOB_SERVER_SECONDS))
            if state in _TERMINAL:
                ended.wait(_POLL_SECONDS)
                return state, said
            if time.monotonic() > deadline:
                raise JobFailed(f"the job {job} was not done after {self._timeout:.0f} s and is cancelled: give it a "
                                "larger timeout= in the runner's URL, or more parallelism")  # fmt: skip
            if ended.is_set():
                time.sleep(0.1)

    def _abandon(self, service: Any, job: str, name: str) -> None:
        """Cancel a job that nobody waits for any more; an error of that is only logged, as another one is raised."""
        try:
            if job:
                service.Cancel(beam_job_api_pb2.CancelJobRequest(job_id=job), timeout=_JOB_SERVER_SECONDS)
            self._cancel(name)
        except (grpc.RpcError, RunnerError) as error:
            logging.getLogger(__name__).warning("the job %s may still run: %s", name, error)

    def _cancel(self, name: str) -> None:
        """Cancel the jobs of this name in Flink, and wait until they do nothing more."""
        if not self._rest:
            return
        deadline = time.monotonic() + _CANCEL_SECONDS
        while running := [job for job in self._ask("GET", "/jobs/overview")["jobs"] if _runs(job, name)]:
            if time.monotonic() > deadline:
                raise JobFailed(f"a job of the name {name} does not end: cancel it in Flink and run this again")
            for job in running:
                if job["state"] != "CANCELLING":
                    self._ask("PATCH", f"/jobs/{job['jid']}?mode=cancel")
            time.sleep(0.1)

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"http://{self._rest}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=_JOB_SERVER_SECONDS) as answer:  # noqa: S310
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code in (404, 409):  # the job has ended meanwhile
                return {"jobs": []}
            raise RunnerUnreachable(f"Flink's REST at {self._rest} answers {error.code} to {path}") from error
        except (OSError, ValueError) as error:
            raise RunnerUnreachable(
                f"Flink's REST does not answer at {self._rest} ({error}): correct rest= in the runner's URL"
            ) from error


_TERMINAL = frozenset({"DONE", "FAILED", "CANCELLED", "DRAINED", "UPDATED"})


def _state(event: Any) -> str:
    return str(beam_job_api_pb2.JobState.Enum.Name(event.state))


def _runs(job: dict[str, Any], name: str) -> bool:
    return job["name"] == name and job["state"] not in _ENDED


def _said(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)


def _in_environment(graph: beam_runner_api_pb2.Pipeline, urn: str, payload: bytes) -> beam_runner_api_pb2.Pipeline:
    """The same graph with all of its steps in an environment."""
    placed = beam_runner_api_pb2.Pipeline()
    placed.CopyFrom(graph)
    for environment in placed.components.environments.values():
        environment.urn, environment.payload = urn, payload
    return placed


def _counters(metrics: Any) -> Counters:
    """The steps' own counters; Flink reports Beam's, too."""
    counted: Counters = {}
    for found in metrics.query()["counters"]:
        metric = found.key.metric
        if metric.namespace != "beam":
            name = f"{metric.namespace}.{metric.name}"
            counted[name] = counted.get(name, 0) + int(found.committed or found.attempted or 0)
    return counted


# How a traceback ends, `module.Class: message`; behind that comes the step, which Beam adds, or the next traceback.
_RAISED = re.compile(r"(?:^|(?<=: ))([\w.]+)\.(\w+): ", re.MULTILINE)
_BEHIND = re.compile(r" \[while running '|\n\n|\Z")


def fault(text: str) -> Exception:
    """The error that a step raised, out of a runner's text of its failure; else a `JobFailed`.

    The text holds Python's traceback of the worker, in which every error stands with its class. An error of the
    product comes back as its class; what it had besides a message is lost. One of a class that only the worker has
    imported, such as an adapter's own, comes back as the base of its errors."""
    known = _known(BrokerError) | _known(StoreError)
    bases: dict[str, type[Exception]] = {"brokers": BrokerError, "stores": StoreError}
    for raised in _RAISED.finditer(text):
        module, name = raised.groups()
        if kind := known.get(name) or bases.get(module.partition(".")[0]):
            found = kind.__new__(kind)
            Exception.__init__(found, _BEHIND.split(text[raised.end() :], 1)[0].strip())
            return found
    lines = [line for line in text.splitlines() if " [while running '" in line]
    return JobFailed(lines[-1].strip() if lines else text)


def _known(kind: type[Exception]) -> dict[str, type[Exception]]:
    return {kind.__name__: kind} | {name: found for sub in kind.__subclasses__() for name, found in _known(sub).items()}
