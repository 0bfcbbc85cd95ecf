"""Start everything that is measured, on free ports of the loopback interface, and stop it again."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import redis

from benchmarks.backend import HUGE_TARGET, LARGE_TARGET
from benchmarks.usage import Cores, pinned
from gateway.core.quotas.algorithms import ALGORITHMS
from gateway.core.quotas.model import FIXED_WINDOW
from tests.support.client import ask
from tests.support.processes import Process, RedisServer, free_port, is_listening, wait_until

Field = tuple[str, str]

CONNECTIONS = 32
FEW_CONNECTIONS = 4
"""For content that is long: what is measured is what a byte costs."""
CLIENT_FIELDS: tuple[Field, ...] = (("User-Agent", "benchmark"), ("Accept", "application/json"))
ASKED: tuple[Field, ...] = (
    ("X-Original-Method", "GET"),
    ("X-Original-URL", "https://api.example.com/live"),
    ("X-Forwarded-For", "192.0.2.7"),
)
"""What nginx is told to say of the request that it asks about."""
UVICORN = ("-m", "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
ALIKE = ("--no-server-header", "--no-date-header", "--no-proxy-headers")
"""As `gateway serve` runs it."""
NAIVE_TOKEN = "naive-0123456789abcdef0123456789abcdef"
OTHERS = [name for name in ALGORITHMS if name != FIXED_WINDOW]
"""The algorithms that are measured beside the usual one, each in a plan of its name."""
PLANS = "".join(
    f'[plans.{name}.quotas]\nminute = {{ limit = "{limit}", algorithm = "{name}" }}\n'
    for name, maximum in ((name, ALGORITHMS[name].maximum_limit) for name in OTHERS)
    for limit in (f"{maximum}/second" if maximum else "1000000000/minute",)
)
POLICY = """
name = "bench"
upstream = "http://127.0.0.1:{port}"
[token]
prefixes = ["bench_"]
bound_to = "project"
[scopes]
read = "Read"
[plans.one]
scopes = ["read"]
quotas = {{ minute = "1000000000/minute" }}
[plans.four]
scopes = ["read"]
[plans.four.quotas]
second = "1000000000/second"
minute = "1000000000/minute"
hour = "1000000000/hour"
day = "1000000000/day"
{algorithms}[[rules]]
match = "GET /export/**"
scopes = ["read"]
cache = {{ fresh = "1h" }}
[[rules]]
match = "GET /live/**"
scopes = ["read"]
"""
NGINX = """
daemon off;
master_process off;
error_log {folder}/nginx.log;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


class Row(msgspec.Struct, frozen=True):
    """One line of the table: a request, and the server whose CPU it costs."""

    name: str
    pid: int
    port: int
    target: str
    fields: tuple[Field, ...] = CLIENT_FIELDS
    status: int = 200
    cache_status: str = ""
    """How Cache-Status begins, if it has to be there."""
    uses_redis: bool = False
    connections: int = CONNECTIONS

    def probe(self) -> None:
        """Check that one request is answered as the row says. Raise SystemExit if it is not."""
        token = dict(self.fields).get("Authorization", "").removeprefix("Bearer ")
        rest = [field for field in self.fields if field[0] != "Authorization"]
        answer = ask(self.port, "GET", self.target, token=token or None, host="127.0.0.1", fields=rest)
        cache_status = answer.field("cache-status") or ""
        if answer.status != self.status or not cache_status.startswith(self.cache_status):
            raise SystemExit(
                f"{self.name}: answered {answer.status}, Cache-Status {cache_status!r}: {answer.content!r}"
            )


class Stage:
    """The running servers; `missing` says what was left out and why."""

    def __init__(self, folder: Path, cores: Cores, ending: ExitStack) -> None:
        self.missing: list[str] = []
        self._folder = folder
        self._cores = cores
        self._ending = ending
        executable = shutil.which("redis-server")
        if executable is None:
            raise SystemExit("the benchmarks need redis-server on the PATH (on Debian: apt-get install redis-server)")
        with pinned(cores.rest):
            store = RedisServer(executable, folder)
            ending.callback(store.stop)
            self.redis_url = store.url
            self._backend = self._start("backend", "benchmarks.backend", str(free_port()))

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of the table."""
        yield self._hello()
        yield from self._gateway()
        if importlib.util.find_spec("httpx"):
            yield self._naive()
        else:
            self.missing.append("the naive stack: it needs httpx (pip install token-gateway[bench])")
        if nginx := shutil.which("nginx"):
            yield from self._nginx(nginx)
        else:
            self.missing.append("nginx: it is not on the PATH")

    def _hello(self) -> Row:
        port, pid = self._serve("hello", *UVICORN, "--lifespan", "off", "benchmarks.hello:app")
        return Row("bare uvicorn hello", pid, port, "/")

    def _gateway(self) -> Iterator[Row]:
        policies = self._folder / "policies"
        policies.mkdir()
        (policies / "bench.toml").write_text(POLICY.format(port=self._backend, algorithms=PLANS))
        common = ("--policies", str(policies), "--redis", self.redis_url)
        port, pid = self._serve_gateway("gateway", common)
        one, four = ((*CLIENT_FIELDS, self._mint(plan, common)) for plan in ("one", "four"))
        first = ask(port, "GET", "/export", token=dict(one)["Authorization"][7:], host="127.0.0.1")
        tag = first.field("etag")
        ask(port, "GET", LARGE_TARGET, token=dict(one)["Authorization"][7:], host="127.0.0.1")
        if first.status != 200 or tag is None:
            raise SystemExit(f"the gateway answered {first.status}: {first.content!r}")
        hit = "gateway; hit"
        not_modified = (*one, ("If-None-Match", tag))
        yield Row("gateway: cached export", pid, port, "/export", one, 200, hit, True)
        coded = (*one, ("Accept-Encoding", "gzip, deflate, br, zstd"))
        yield Row("gateway: cached export, 64 KiB", pid, port, LARGE_TARGET, one, 200, hit, True)
        yield Row("gateway: cached export, br", pid, port, "/export", coded, 200, hit, True)
        yield Row("gateway: cached export, 64 KiB, br", pid, port, LARGE_TARGET, coded, 200, hit, True)
        yield Row("gateway: cached export, 4 quotas", pid, port, "/export", four, 200, hit, True)
        for algorithm in OTHERS:
            fields = (*CLIENT_FIELDS, self._mint(algorithm, common))
            yield Row(f"gateway: cached export, {algorithm}", pid, port, "/export", fields, 200, hit, True)
        yield Row("gateway: cached export, 304", pid, port, "/export", not_modified, 304, hit, True)
        yield Row("gateway: proxied", pid, port, "/live", one, uses_redis=True)
        yield Row("gateway: proxied, 10 MiB", pid, port, HUGE_TARGET, one, connections=FEW_CONNECTIONS)
        yield Row("the backend itself", pid, self._backend, "/live", connections=1)
        yield Row("through the gateway", pid, port, "/live", one, connections=1)
        yield from self._own_apps(policies, one[-1])
        asking = {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}
        port, pid = self._serve_gateway("asked gateway", common, asking)
        yield Row("gateway: forward-auth", pid, port, "/-/authorize/nginx", (*one, *ASKED), uses_redis=True)
        port, pid = self._unguarded(policies)
        yield Row("gateway without admission: cached export", pid, port, "/export", one, 200, hit)

    def _own_apps(self, policies: Path, token: Field) -> Iterator[Row]:
        served = (*UVICORN, *ALIKE, "benchmarks.own_app:app")
        port, pid = self._serve("bare app", *served)
        yield Row("Litestar handler", pid, port, "/live")
        settings = {"GATEWAY_POLICIES": str(policies), "GATEWAY_REDIS_URL": self.redis_url, "BENCHMARK_PLUGIN": "1"}
        port, pid = self._serve("own app", *served, environment=settings)
        fields = (*CLIENT_FIELDS, token)
        yield Row("plugin: guarded handler", pid, port, "/live", fields, uses_redis=True)
        yield Row("plugin: stored answer", pid, port, "/export", fields, 200, "gateway; hit", True)

    def _unguarded(self, policies: Path) -> tuple[int, int]:
        settings = {"GATEWAY_POLICIES": str(policies), "GATEWAY_REDIS_URL": self.redis_url}
        ours = ("--http", "gateway.server.connection:Connection", "--ws", "none")
        return self._serve("unguarded", *UVICORN, *ours, *ALIKE, "benchmarks.unguarded:app", environment=settings)

    def _serve_gateway(
        self, name: str, common: tuple[str, ...], environment: dict[str, str] | None = None
    ) -> tuple[int, int]:
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "gateway",
            "serve",
            *common,
            "--listen",
            f"127.0.0.1:{port}",
            "--admin-listen",
            "",
        ]
        return port, self._run(name, command, port, self._cores.server, environment)

    def _mint(self, plan: str, common: tuple[str, ...]) -> Field:
        own = ("--policy", "bench", "--project", "bench", "--plan", plan, "--name", f"plan {plan}", "--json")
        command = [sys.executable, "-m", "gateway", "token", "create", *own, *common]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout
        return ("Authorization", f"Bearer {json.loads(printed)['token']}")

    def _naive(self) -> Row:
        digest = hashlib.sha256(NAIVE_TOKEN.encode()).hexdigest()
        with redis.Redis.from_url(self.redis_url) as client:
            client.set(f"naive:token:{digest}", json.dumps({"owner": "o", "scopes": ["read"], "expires_at": 2**40}))
        addresses = {"NAIVE_REDIS_URL": self.redis_url, "NAIVE_UPSTREAM": f"http://127.0.0.1:{self._backend}"}
        port, pid = self._serve("naive", *UVICORN, "benchmarks.naive:app", environment=addresses)
        fields = (*CLIENT_FIELDS, ("Authorization", f"Bearer {NAIVE_TOKEN}"))
        return Row("naive stack: proxied", pid, port, "/live", fields, uses_redis=True)

    def _nginx(self, executable: str) -> Iterator[Row]:
        port = free_port()
        configuration = self._folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=self._folder, port=port, backend=self._backend))
        command = [executable, "-c", str(configuration), "-p", str(self._folder), "-e", f"{self._folder}/nginx.log"]
        pid = self._run("nginx", command, port, self._cores.server)
        yield Row("nginx, for orientation: proxied, no checks", pid, port, "/live")
        yield Row("nginx: proxied, 10 MiB", pid, port, HUGE_TARGET, connections=FEW_CONNECTIONS)
        yield Row("through nginx, no checks", pid, port, "/live", connections=1)

    def _start(self, name: str, module: str, port: str) -> int:
        self._run(name, [sys.executable, "-m", module, port], int(port), self._cores.rest)
        return int(port)

    def _serve(self, name: str, *options: str, environment: dict[str, str] | None = None) -> tuple[int, int]:
        port = free_port()
        command = [sys.executable, *options, "--port", str(port)]
        return port, self._run(name, command, port, self._cores.server, environment)

    def _run(
        self, name: str, command: list[str], port: int, cores: frozenset[int], environment: dict[str, str] | None = None
    ) -> int:
        with pinned(cores):
            process = Process(command, self._folder / f"{name}.log", environment)
        self._ending.callback(process.stop)
        wait_until(lambda: is_listening(port) or process.popen.poll() is not None, f"{name} listens")
        if process.popen.poll() is not None:
            raise SystemExit(f"{name} ended at its start:\n{process.text()}")
        return process.popen.pid


@contextmanager
def set_up(folder: Path, cores: Cores) -> Iterator[Stage]:
    """Give a stage whose processes end with the block, whatever happens in it."""
    with ExitStack() as ending:
        yield Stage(folder, cores, ending)
