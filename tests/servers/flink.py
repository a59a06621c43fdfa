"""Apache Flink and Beam's job server, from Maven: 157 MB fetched once, about 1.5 GB of memory, ready in seconds.

A JobManager, TaskManagers of two slots each, Beam's job server and a pool of the product's workers. The job server and
the workers' endpoints listen on every interface without authentication, whatever their options say, so all of it runs
in a network namespace of its own: `inside` is what goes before a command that is to reach it (`./dev flink run …`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.servers import namespace
from tests.servers.kafka import java
from tests.servers.namespace import Namespace
from tests.servers.process import HOST, ROOT, Group, NotStarted, Server, cache, locked

VERSION = "1.19"
BEAM = "2.70.0"
# In a namespace of their own they cannot be taken.
PORT = 8099
_ARTIFACTS, _REST, _RPC, _WORKERS = 8098, 8081, 6123, 50000
SLOTS = 2
# For an S3 that a test starts beside it: any will do there, but clients ask for some.
S3_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}

# The job service is not to be had in Beam's version; the harness would shadow classes of runners-core.
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>footfall</groupId><artifactId>flink</artifactId><version>1</version><packaging>pom</packaging>
  <dependencyManagement><dependencies>
    <dependency><groupId>org.apache.beam</groupId><artifactId>beam-runners-java-job-service</artifactId><version>2.65.0</version></dependency>
  </dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>org.apache.beam</groupId><artifactId>beam-runners-flink-{VERSION}</artifactId><version>{BEAM}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.16</version></dependency>
    <dependency><groupId>org.eclipse.jdt</groupId><artifactId>ecj</artifactId><version>3.33.0</version></dependency>
  </dependencies>
</project>
"""

# Beam finds by this class what a job needs besides itself: all jars of the class path, 157 MB for each job. The
# TaskManagers have them already.
_DETECTOR = """package org.apache.beam.sdk.util.construction.resources;

public class ClasspathScanningResourcesDetector implements PipelineResourcesDetector {
  public ClasspathScanningResourcesDetector(io.github.classgraph.ClassGraph graph) {}

  public java.util.List<String> detect(ClassLoader loader) {
    return java.util.List.of();
  }
}
"""

# A lost TaskManager is noticed after the heartbeat time-out. The delays of the restart strategy grow beyond it, so
# that its loss does not use up the attempts; those are bounded, because a permanent error is repeated as well.
_CONFIGURATION = f"""jobmanager.rpc.address: {HOST}
jobmanager.rpc.port: {_RPC}
jobmanager.bind-host: {HOST}
rest.address: {HOST}
rest.port: {_REST}
rest.bind-address: {HOST}
taskmanager.host: {HOST}
taskmanager.bind-host: {HOST}
heartbeat.interval: 1000
heartbeat.timeout: 10000
heartbeat.rpc-failure-threshold: 1
restart-strategy.type: exponential-delay
restart-strategy.exponential-delay.initial-backoff: 1 s
restart-strategy.exponential-delay.backoff-multiplier: 3.0
restart-strategy.exponential-delay.max-backoff: 12 s
restart-strategy.exponential-delay.jitter-factor: 0.0
restart-strategy.exponential-delay.attempts-before-reset-backoff: 4
taskmanager.numberOfTaskSlots: {SLOTS}
taskmanager.cpu.cores: 1
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.task.off-heap.size: 128m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.managed.size: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
jobmanager.memory.process.size: 1g
"""
_OPENED = ("lang", "lang.invoke", "util", "util.concurrent", "nio", "time", "net", "io")

_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"


class Flink(Group):
    """The cluster; its address is the URL of the product's runner, good inside its namespace."""

    def __init__(self, folder: Path) -> None:
        self.namespace = Namespace(folder / "network")
        self.job_manager = Server("JobManager", folder / "jobmanager")
        self.job_server = Server("Beam's job server", folder / "jobserver")
        self.pool = Server("worker pool", folder / "workers")
        self.task_managers = [self.task_manager(1)]
        self.task_managers += [self.task_manager(2)] if (folder / "taskmanager2").is_dir() else []
        servers = [self.namespace, self.job_manager, *self.task_managers, self.job_server, self.pool]
        super().__init__(folder, servers, servers)
        self.folder = folder

    def task_manager(self, number: int) -> Server:
        """TaskManager 1 or 2, running or not."""
        return Server(f"TaskManager {number}", Path(self.job_manager.folder).with_name(f"taskmanager{number}"))

    def address(self) -> str | None:
        return _url() if super().address() else None

    def inside(self) -> list[str]:
        """What goes before a command that is to reach the cluster."""
        return self.namespace.inside()

    def begin(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `python -m MODULE ARGUMENTS…` in its network, from the checkout; standard output is a pipe."""
        command = [*self.inside(), sys.executable, "-m", module, *arguments]
        given = {**os.environ, **S3_KEYS, "PYTHONPATH": str(ROOT), **(env or {})}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=given)

    def run(self, module: str, *arguments: str, env: Mapping[str, str] | None = None, timeout: float) -> Any:
        """Run `python -m MODULE ARGUMENTS…` in its network to its end; returns what its last line says in JSON."""
        with self.begin(module, *arguments, env=env) as running:
            try:
                said, _ = running.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                running.kill()
                raise
        if running.returncode:
            raise RuntimeError(f"{module} ended with status {running.returncode}:\n{said}\n{self.tail()}")
        return json.loads(said.splitlines()[-1])

    def url(self, **options: object) -> str:
        """The URL of the product's runner, good inside."""
        return _url() + "".join(f"&{name}={value}" for name, value in options.items())

    def jobs(self, name: str) -> list[str]:
        """The states of the jobs of a name, the oldest first."""
        script = f"import urllib.request as r; print(r.urlopen('http://{HOST}:{_REST}/jobs/overview').read().decode())"
        done = subprocess.run([*self.inside(), sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
        found = [job for job in json.loads(done.stdout)["jobs"] if job["name"] == name]
        return [job["state"] for job in sorted(found, key=lambda job: job["start-time"])]

    def workers(self) -> list[int]:
        """The processes of the pool's workers."""
        tasks = Path(f"/proc/{self.pool.pid()}/task").glob("*/children")
        return [int(pid) for children in tasks for pid in children.read_text().split()]


def _url() -> str:
    return f"flink://{HOST}:{PORT}?workers={HOST}:{_WORKERS}&rest={HOST}:{_REST}"


def available() -> str:
    """Empty when Flink can be started here, else what to install."""
    try:
        java()
        _maven()
    except NotStarted as missing:
        return str(missing).replace("Kafka", "Flink")
    return namespace.available()


def _jars() -> Path:
    return cache() / f"flink-{VERSION}" / "jars"


def _maven() -> str:
    found = shutil.which("mvn")
    if found is None and not _jars().is_dir():
        raise NotStarted("Flink's jars come from Maven: apt-get install maven (or brew install maven)")
    return found or ""


def fetch() -> Path:
    """The folder of jars, downloaded on the first call."""
    jars = _jars()
    with locked(jars.parent):
        if jars.is_dir():
            return jars
        partial = jars.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        pom = jars.with_name("pom.xml")
        pom.write_text(_POM)
        env = dict(os.environ)
        if not shutil.which("java"):
            env["JAVA_HOME"] = str(java().parents[1])
        command = [_maven(), "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={partial}"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        if done.returncode:
            raise NotStarted(f"Maven could not fetch Flink {VERSION}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        (partial / "beam-sdks-java-harness-2.65.0.jar").unlink()
        _compile(partial)
        partial.rename(jars)
    return jars


def _compile(jars: Path) -> None:
    """Compile the detector into `jars/classes` by Eclipse's compiler, which needs no JDK."""
    compiler = next(jars.glob("ecj-*.jar"))
    source = jars.parent / "ClasspathScanningResourcesDetector.java"
    source.write_text(_DETECTOR)
    command = [str(java()), "-jar", str(compiler), "-11", "-nowarn", "-proc:none", "-d", str(jars / "classes")]
    done = subprocess.run([*command, "-cp", _path(jars), str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotStarted(f"{source} does not compile:\n{done.stdout}{done.stderr}")
    compiler.unlink()


def _path(jars: Path) -> str:
    return ":".join(map(str, sorted(jars.glob("*.jar"))))


def server(folder: Path | None = None) -> Flink:
    return Flink(folder or cache() / "flink")


def start(folder: Path | None = None, port: int = PORT, task_managers: int = 1) -> str:
    """Start what does not run of it; the runner's URL either way, good in the namespace. The ports are fixed there."""
    flink = server(folder)
    fetch()
    with locked(flink.folder):
        if running := flink.address():
            return running
        (flink.folder / "conf").mkdir(exist_ok=True)
        (flink.folder / "conf" / "flink-conf.yaml").write_text(_CONFIGURATION)
        flink.namespace.start()
        with ThreadPoolExecutor() as pool:
            starting = [pool.submit(_start_job_manager, flink), pool.submit(_start_job_server, flink)]
            starting += [pool.submit(start_workers, flink)]
            starting += [pool.submit(start_task_manager, flink, number + 1) for number in range(task_managers)]
            for started in starting:
                started.result()
    return _url()


def start_task_manager(flink: Flink, number: int) -> None:
    """Start TaskManager 1 or 2 unless it runs; back when it offers its slots."""
    manager = flink.task_manager(number)
    command = [_TASK_MANAGER, "--configDir", str(flink.folder / "conf"), "-D", f"taskmanager.resource-id={number}"]
    sizes = ["-Xmx384m", "-XX:MaxDirectMemorySize=320m"]

    def ready() -> bool:
        return b"Successful registration at resource manager" in manager.log.read_bytes()

    _java(flink, manager, sizes, command, ready)


def _start_job_manager(flink: Flink) -> None:
    command = [_JOB_MANAGER, "--configDir", str(flink.folder / "conf")]

    def ready() -> bool:
        return b"was granted leadership" in flink.job_manager.log.read_bytes()

    _java(flink, flink.job_manager, ["-Xmx256m"], command, ready)


def _start_job_server(flink: Flink) -> None:
    command = [_JOB_SERVER, f"--job-host={HOST}", f"--job-port={PORT}", f"--artifact-port={_ARTIFACTS}"]
    command += ["--expansion-port=-1", f"--flink-master={HOST}:{_REST}", f"--flink-conf-dir={flink.folder}/conf"]
    command += [f"--artifacts-dir={flink.job_server.folder}/artifacts"]

    def ready() -> bool:
        return b"JobService started on" in flink.job_server.log.read_bytes()

    _java(flink, flink.job_server, ["-Xmx256m"], command, ready)


def start_workers(flink: Flink) -> None:
    """Start the pool of workers unless it runs."""
    # The option means nothing to Python; it names the folder, by which the process is known as ours.
    command = [*flink.inside(), sys.executable, "-X", f"folder={flink.pool.folder}", "-m", "infra.cli", "workers"]
    command += ["--listen", str(_WORKERS), "--processes", str(SLOTS)]

    def ready() -> bool:
        return b"workers at" in flink.pool.log.read_bytes()

    with flink.pool.locked():
        if not flink.pool.address():
            path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
            flink.pool.spawn(command, _WORKERS, ready, env={"PYTHONPATH": path, **S3_KEYS})


def _java(flink: Flink, part: Server, sizes: list[str], main: list[str], ready: Callable[[], bool]) -> None:
    with part.locked():
        if part.address():
            return
        temporary = part.folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        jars = _jars()
        command = [*flink.inside(), str(java()), *sizes, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED]
        command += [f"-Djava.io.tmpdir={temporary}", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        command += ["-cp", f"{jars}/classes:{_path(jars)}", *main]
        part.spawn(command, 0, ready, env={"FLINK_CONF_DIR": str(flink.folder / "conf")})
