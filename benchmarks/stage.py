"""Start what is measured, on free ports of the loopback interface, and stop it again. rows.py says what is asked."""

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.clients import TOKEN, TURN, Field
from benchmarks.load import Order
from benchmarks.usage import Cores, pinned
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.app import open_policies
from gateway.core.quotas.algorithms import ALGORITHMS
from gateway.core.quotas.model import FIXED_WINDOW
from gateway.core.tokens import text
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.management.building import build_management
from gateway.settings import Settings
from tests.support.client import Answer, ask
from tests.support.processes import Process, RedisServer, free_port, is_listening, wait_until

CONNECTIONS = 32
FEW_CONNECTIONS = 4
"""For content that is long: what is measured is what a byte costs."""
REDIS_TIMEOUT_SECONDS = 5
"""For the gateway and its peers: a pause of the machine is not to end a run."""
TOKENS = 1000
"""That requests are made with in turn, unless a row says otherwise."""
TOKENS_OF_OTHERS = 200
"""The same of plans that are compared with one another: together they have to fit what a worker remembers."""
ASKED: tuple[Field, ...] = (
    ("X-Original-Method", "GET"),
    ("X-Original-URL", "https://api.example.com/live"),
    ("X-Forwarded-For", "192.0.2.7"),
)
"""What nginx is told to say of the request that it asks about."""
UVICORN = ("-m", "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
ALIKE = ("--no-server-header", "--no-date-header", "--no-proxy-headers")
"""As `gateway serve` runs it."""
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
[plans.small]
scopes = ["read"]
quotas = {{ day = "1/day" }}
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


class Row(msgspec.Struct, frozen=True):
    """One line of a table: a request, and the server whose CPU it costs."""

    section: str
    kind: str
    """What is asked."""
    server: str
    pids: tuple[int, ...]
    port: int
    head: str
    tokens: str = ""
    """The file of the tokens that it is asked with in turn; see load.Order for this and `repeats`."""
    repeats: int = 0
    status: int = 200
    cache_status: str = ""
    """How Cache-Status begins, if it has to be there."""
    uses_redis: bool = False
    connections: int = CONNECTIONS
    is_tls: bool = False
    base: str = ""
    """The name of the row that it is compared with, in the same round."""
    group: str = ""
    """Rows of a group take turns. Those that are compared with one another are in one; empty: the section's."""

    @property
    def name(self) -> str:
        """Kind and server: no two rows have the same."""
        return f"{self.kind}: {self.server}"

    def order(self, seconds: float) -> Order:
        """Return the load that measures it."""
        return Order(self.port, self.head, self.connections, seconds, self.tokens, self.repeats, self.is_tls)

    def probe(self) -> None:
        """Check that one request is answered as the row says. Raise SystemExit if it is not."""
        if self.is_tls:
            return  # the load counts statuses, and the same server answers rows without TLS
        answer = ask_head(self.port, self.head, self.first_token())
        cache_status = answer.field("cache-status") or ""
        if answer.status != self.status or not cache_status.startswith(self.cache_status):
            raise SystemExit(
                f"{self.name}: answered {answer.status}, Cache-Status {cache_status!r}: {answer.content[:500]!r}"
            )

    def token_count(self) -> int:
        """Return how many tokens there are."""
        return len(Path(self.tokens).read_text().split()) if self.tokens else 0

    def first_token(self) -> str:
        """Return the first of the tokens; empty if there are none."""
        if not self.tokens:
            return ""
        with Path(self.tokens).open(encoding="utf-8") as lines:
            return next(lines).strip()


def ask_head(port: int, head: str, token: str = "") -> Answer:
    """Send a head (clients.py) once, and return the answer."""
    filled = head.replace(TOKEN, token).replace(TURN, "0")
    request, *lines = filled.strip().split("\r\n")
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines) if name.lower() != "host"]
    return ask(port, "GET", request.split(" ")[1], host="127.0.0.1", fields=fields)


class Served(msgspec.Struct, frozen=True):
    """A running server."""

    port: int
    pid: int


class Stage:
    """The running servers. `missing` says what was left out and why, `logs` names the access logs."""

    def __init__(self, folder: Path, cores: Cores, ending: ExitStack) -> None:
        self.missing: list[str] = []
        self.logs: list[Path] = []
        self.folder = folder
        self.cores = cores
        self._ending = ending
        self._tokens: dict[str, str] = {}
        executable = shutil.which("redis-server")
        if executable is None:
            raise SystemExit("the benchmarks need redis-server on the PATH (on Debian: apt-get install redis-server)")
        with pinned(cores.rest):
            self.redis = RedisServer(executable, folder)
            ending.callback(self.redis.stop)
        self.redis_url = self.redis.url
        self.backend = free_port()
        self.run("backend", [sys.executable, "-m", "benchmarks.backend", str(self.backend)], self.backend, cores.rest)
        self.policies = folder / "policies"
        self.policies.mkdir()
        (self.policies / "bench.toml").write_text(POLICY.format(port=self.backend, algorithms=PLANS))

    def tokens(self, plan: str, count: int = TOKENS) -> str:
        """Return a file of new tokens of a plan, the same one for the same plan; `unknown` is of ones never minted."""
        if plan not in self._tokens:
            settings = Settings(redis_url=self.redis_url, policies=str(self.policies))
            made = never_minted(settings, count) if plan == "unknown" else asyncio.run(mint(settings, plan, count))
            self._tokens[plan] = self.write_tokens(plan, made)
        return self._tokens[plan]

    def revoked_token(self) -> str:
        """Return a file with a new token that is revoked."""
        settings = Settings(redis_url=self.redis_url, policies=str(self.policies))
        return self.write_tokens("revoked", asyncio.run(mint(settings, "one", 1, is_revoked=True)))

    def write_tokens(self, name: str, texts: list[str]) -> str:
        """Return a file of these tokens."""
        file = self.folder / f"{name}.tokens"
        file.write_text("\n".join(texts) + "\n")
        return str(file)

    def first_of(self, tokens: str, count: int) -> str:
        """Return a file with the first of the tokens."""
        return self.write_tokens(f"{count}-{Path(tokens).stem}", Path(tokens).read_text().split()[:count])

    def new_log(self, name: str) -> Path:
        """Return where an access log is to be written; it is emptied between rows."""
        self.logs.append(self.folder / f"{name}.access.log")
        return self.logs[-1]

    def empty_logs(self) -> None:
        """Cut all access logs to nothing: a run writes gigabytes."""
        for log in self.logs:
            if log.exists():
                os.truncate(log, 0)

    def serve_gateway(self, name: str, *, is_logged: bool = True, admin_listen: str = "", **environment: str) -> Served:
        """Run `gateway serve`; `environment` are settings by name."""
        port = free_port()
        listeners = ("--listen", f"127.0.0.1:{port}", "--admin-listen", admin_listen)
        options = ("--policies", str(self.policies), "--redis", self.redis_url, *listeners)
        log = ("--access-log", str(self.new_log(name))) if is_logged else ()
        environment = {"redis_timeout": str(REDIS_TIMEOUT_SECONDS), **environment}
        own = {f"GATEWAY_{setting.upper()}": value for setting, value in environment.items()}
        command = [sys.executable, "-m", "gateway", "serve", *options, *log]
        return Served(port, self.run(name, command, port, environment=own))

    def serve_app(self, name: str, *options: str, environment: dict[str, str] | None = None) -> Served:
        """Run a program of Python that takes a port."""
        port = free_port()
        command = [sys.executable, *options, "--port", str(port)]
        return Served(port, self.run(name, command, port, environment=environment))

    def run(
        self,
        name: str,
        command: list[str],
        port: int,
        cores: frozenset[int] | None = None,
        environment: dict[str, str] | None = None,
    ) -> int:
        """Run a command until the stage ends, by default on the server's core. Return its process id as it listens."""
        with pinned(cores or self.cores.server):
            process = Process(command, self.folder / f"{name}.log", environment)
        self._ending.callback(process.stop)
        wait_until(lambda: is_listening(port) or process.popen.poll() is not None, f"{name} listens")
        if process.popen.poll() is not None:
            raise SystemExit(f"{name} ended at its start:\n{process.text()}")
        return process.popen.pid


def never_minted(settings: Settings, count: int) -> list[str]:
    """Return texts that are tokens by their form."""
    token_format = open_policies(settings).current.policies["bench"].token_format
    return [text.mint(token_format, secrets.token_bytes(text.random_bytes_needed(token_format))) for _ in range(count)]


async def mint(settings: Settings, plan: str, count: int, *, is_revoked: bool = False) -> list[str]:
    """Return the texts of new tokens of a plan, revoked ones if that is wanted."""
    connection = RedisConnection(open_client(settings.redis_url, 5), 5)
    management = build_management(connection, open_policies(settings), settings.token_pepper)
    actor, request = Actor("benchmark", "operator"), TokenRequest(name=f"plan {plan}", project="bench", plan=plan)
    made = [await management.create_token(actor, "bench", request) for _ in range(count)]
    if is_revoked:
        for one in made:
            await management.revoke_token(actor, one.view.record.identity)
    await connection.close()
    return [one.text for one in made]


@contextmanager
def set_up(folder: Path, cores: Cores) -> Iterator[Stage]:
    """Give a stage whose processes end with the block, whatever happens in it."""
    with ExitStack() as ending:
        yield Stage(folder, cores, ending)
