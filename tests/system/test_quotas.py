"""Quotas as clients and operators meet them, over HTTP."""

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest
import redis

from tests.support.client import Answer, ask
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer, wait_until
from tests.support.raw import RawBackend, read_head
from tests.system.conftest import Serve, Share, mint

POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
bound_to = "owner"
[plans.small]
quotas = {{ units = "100/hour" }}
[plans.large]
quotas = {{ units = "500/hour" }}
[plans.tried]
quotas = {{ units = "12/hour", tighter = {{ limit = "2/hour", shadow = true }} }}
[plans.shared]
quotas = {{ of-plan = {{ limit = "14/hour", per = "plan" }}, team = {{ limit = "13/hour", per = "owner" }} }}
[[rules]]
match = "GET /export"
cost = {{ miss = 10, hit = 1, not_modified = 0, error = 0 }}
cache = {{ fresh = "1h" }}
[[rules]]
match = "GET /broken/{{how}}"
cost = {{ miss = 10, error = 0 }}
[[rules]]
match = "GET /reported/{{units}}"
cost = {{ miss = 10, reported_by = "X-Request-Cost" }}
[[rules]]
match = "GET /free"
cost = 0
[[rules]]
match = "GET /held/{{how}}"
cost = 0
quotas = {{ parallel = {{ concurrent = 2 }} }}
[[rules]]
match = "GET /many"
quotas = {{ many = "2/hour" }}
[[rules]]
match = "GET /status"
public = true
quotas = {{ status = {{ limit = "2/hour", per = "address" }} }}
[[rules]]
match = "* /**"
"""

SHORT_LEASES = (
    "-c",
    "import gateway.core.quotas.model as quotas; quotas.LEASE_SECONDS = 2; from gateway.cli.main import main; main()",
)
"""The gateway with leases that end soon: the test of a killed worker waits for one."""


class Backend:
    """Answers by path; what is held is answered when the test lets it go."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.held: list[str] = []

    def __call__(self, connection: socket.socket) -> None:
        path = read_head(connection).split(b" ")[1].decode()
        if path == "/broken/connection":
            return
        fields, status, content = "", "200 OK", b"content"
        if path == "/broken/status":
            status = "500 Internal Server Error"
        elif path.startswith("/reported/"):
            fields = f"X-Request-Cost: {path.removeprefix('/reported/')}\r\n"
        elif path == "/stricter":
            fields = 'RateLimit-Policy: "units";q=7;w=3600, "other";q=9\r\nRateLimit: "units";r=3;t=9, "other";r=8\r\n'
        head = f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
        if path == "/held/head":
            self.hold(path)
        connection.sendall(head + content[:1])
        if path == "/held/content":
            self.hold(path)
        connection.sendall(content[1:])

    def hold(self, path: str) -> None:
        self.held.append(path)
        self.may_answer.wait(20)


@pytest.fixture
def backend() -> Iterator[tuple[Backend, int]]:
    """A backend of this module's own, and its port."""
    behave = Backend()
    with RawBackend(behave) as raw:
        yield behave, raw.port
        behave.may_answer.set()


@pytest.fixture
def policies(tmp_path: Path, backend: tuple[Backend, int]) -> Path:
    """A folder with the policy of this module, in front of its backend."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "system.toml").write_text(POLICY.format(backend=backend[1]))
    return folder


class Client:
    """Asks a gateway in the name of a token."""

    def __init__(self, server: GatewayServer, token: str | None = None, identity: str = "") -> None:
        self.server = server
        self.token = token
        self.identity = identity

    def get(self, path: str, **fields: str) -> Answer:
        named = [(name.replace("_", "-"), value) for name, value in fields.items()]
        return ask(self.server.port, "GET", path, token=self.token, fields=named)

    def left(self, path: str = "/free") -> str:
        return self.get(path).field("ratelimit") or ""


def new_client(server: GatewayServer, redis_url: str, policies: Path, plan: str, owner: str = "acme") -> Client:
    made = mint(redis_url, policies, "--plan", plan, "--owner", owner)
    return Client(server, made["token"], made["id"])


def remaining(limit_field: str, name: str) -> int:
    return next(int(item.split(";r=")[1].split(";")[0]) for item in limit_field.split(", ") if item.startswith(name))


def test_a_request_costs_what_it_came_to(share: Share, redis_url: str, policies: Path) -> None:
    """A miss is 10, a hit 1, a 304 and an error nothing, and what the backend says what it says: the rest comes back.

    The answer itself counts it already, and the quota does soon after.
    """
    client = new_client(share(), redis_url, policies, "small")
    tag = client.get("/export").field("etag") or ""
    left = 90
    for path, fields, status, cost in (
        ("/export", {}, 200, 1),
        ("/export", {"If_None_Match": tag}, 304, 0),
        ("/broken/status", {}, 500, 0),
        ("/broken/connection", {}, 502, 0),
        ("/reported/3", {}, 200, 3),
        ("/reported/70", {}, 200, 10),
        ("/reported/none", {}, 200, 10),
    ):
        wait_until(lambda: remaining(client.left(), '"units"') == left, f"{left} are left before {path}")  # noqa: B023
        answer = client.get(path, **fields)
        left -= cost
        assert status == answer.status
        assert left == remaining(answer.field("ratelimit") or "", '"units"')
    wait_until(lambda: remaining(client.left(), '"units"') == left, f"{left} are left in the end")


def test_what_does_not_fit_as_a_miss_is_refused(share: Share, redis_url: str, policies: Path) -> None:
    """The most that a request may cost must be there, or it is refused and charged nothing; others still pass."""
    client = new_client(share(), redis_url, policies, "tried")
    assert [200] * 3 == [client.get("/any").status for _ in range(3)]
    refused = client.get("/export")
    assert 429 == refused.status
    assert '"units";r=9;t=3600' == refused.field("ratelimit")
    assert ["units"] == refused.json()["violated-policies"]
    answer = client.get("/any")
    assert 200 == answer.status
    assert '"units";r=8;t=3600' == answer.field("ratelimit")


def test_tokens_share_what_their_owner_and_plan_have(share: Share, redis_url: str, policies: Path) -> None:
    """Two tokens of one owner have 13 requests together, and with another owner's token 14 in their plan."""
    server = share()
    first, second, other = (
        new_client(server, redis_url, policies, "shared", owner) for owner in ("acme", "acme", "other")
    )
    assert [200] * 13 + [429] == [one.get("/any").status for one in [first, second] * 7]
    refused = second.get("/any")
    assert ["team"] == refused.json()["violated-policies"]
    assert '"team";r=0;' in (refused.field("ratelimit") or "")
    assert [200, 429] == [other.get("/any").status for _ in range(2)]
    assert ["of-plan"] == other.get("/any").json()["violated-policies"]


def test_a_quota_of_a_rule_holds_there_alone(share: Share, redis_url: str, policies: Path) -> None:
    """When it is used up, other rules answer, and name their own quotas only."""
    client = new_client(share(), redis_url, policies, "small")
    assert [200, 200, 429] == [client.get("/many").status for _ in range(3)]
    assert '"units";q=100;w=3600, "many";q=2;w=3600' == client.get("/many").field("ratelimit-policy")
    answer = client.get("/any")
    assert 200 == answer.status
    assert '"units";q=100;w=3600' == answer.field("ratelimit-policy")


def test_without_a_token_addresses_are_counted(share: Share) -> None:
    """A public rule's requests from one address, and those from one IPv6 /64, share a quota."""
    client = Client(share("trusting"))

    def statuses(*addresses: str) -> list[int]:
        return [client.get("/status", X_Forwarded_For=address).status for address in addresses]

    assert [200, 200, 429] == statuses("192.0.2.1", "192.0.2.1", "192.0.2.1")
    assert [200, 200, 429, 200] == statuses("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")
    refused = client.get("/status", X_Forwarded_For="192.0.2.1")
    assert '"status";q=2;w=3600' == refused.field("ratelimit-policy")
    assert "retry-after" in dict(refused.fields)


def hold(pool: ThreadPoolExecutor, client: Client, backend: Backend, *paths: str) -> list[Future[Answer]]:
    """Requests under way, whose answers the backend holds back."""
    held = [pool.submit(client.get, path) for path in paths]
    wait_until(lambda: len(backend.held) == len(paths), "the backend holds them")
    return held


def wait_for_none_in_flight(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        wait_until(lambda: not store.keys("gw1:*leases*"), "none is in flight")


def test_requests_in_flight_are_limited(
    share: Share, redis_url: str, policies: Path, backend: tuple[Backend, int]
) -> None:
    """Two wait for the backend, with and without a head: a third is 429 for a second, until one of them has ended."""
    client = new_client(share(), redis_url, policies, "small")
    first = client.get("/held/none")
    assert '"units";q=100;w=3600, "parallel";q=2;qu="concurrent-requests"' == first.field("ratelimit-policy")
    wait_for_none_in_flight(redis_url)
    with ThreadPoolExecutor() as pool:
        held = hold(pool, client, backend[0], "/held/head", "/held/content")
        refused = client.get("/held/none")
        assert ["parallel"] == refused.json()["violated-policies"]
        assert refused.field("retry-after") in ("1", "2")
        assert '"parallel";r=0' == (refused.field("ratelimit") or "").split(", ")[1]
        assert 200 == client.get("/any").status
        backend[0].may_answer.set()
        assert [200, 200] == [one.result(20).status for one in held]
    wait_for_none_in_flight(redis_url)


def test_a_client_that_leaves_is_no_longer_in_flight(share: Share, redis_url: str, policies: Path) -> None:
    """In the middle of content that the backend is still sending."""
    client = new_client(share(), redis_url, policies, "small")
    request = f"GET /held/content HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {client.token}\r\n\r\n".encode()
    connections = []
    for _ in range(2):
        connection = socket.create_connection(("127.0.0.1", client.server.port), 15)
        connections.append(connection)
        connection.sendall(request)
        assert b"200 OK" in read_head(connection)
    assert 429 == client.get("/held/none").status
    for connection in connections:
        connection.close()
    wait_until(lambda: client.get("/held/none").status == 200, "they are forgotten")


def test_what_a_killed_worker_had_in_flight_ends_by_itself(
    serve: Serve, redis_url: str, policies: Path, backend: tuple[Backend, int]
) -> None:
    """kill -9 with two requests under way: another worker refuses more until their leases end, and then admits them."""
    doomed, other = (serve(redis_url, program=SHORT_LEASES) for _ in range(2))
    client = new_client(doomed, redis_url, policies, "small")
    survivor = Client(other, client.token)
    with ThreadPoolExecutor() as pool:
        held = hold(pool, client, backend[0], "/held/head", "/held/head")
        assert 429 == survivor.get("/held/none").status
        doomed.send(signal.SIGKILL)
        for one in held:
            with pytest.raises((HTTPException, OSError)):
                one.result(20)
    wait_until(lambda: survivor.get("/held/none").status == 200, "their leases have ended")


def test_a_change_acts_on_the_next_request(share: Share, redis_url: str, policies: Path) -> None:
    """Another plan, an override, its removal, a revocation over the quota: the very next answer knows it."""
    server = share()
    where = ("--redis", redis_url, "--policies", str(policies))
    made = mint(redis_url, policies, "--plan", "small", "--owner", "acme")
    client = Client(server, made["token"])

    def announced() -> str | None:
        return client.get("/any").field("ratelimit-policy")

    assert '"units";q=100;w=3600' == announced()
    run_json("token", "update", made["id"], "--plan", "large", *where)
    assert '"units";q=500;w=3600' == announced()
    override = ("token", "override", made["id"], "units")
    run_json(*override, "3/hour", "--until", "1h", "--reason", "too eager", *where)
    assert '"units";q=3;w=3600' == announced()
    refused = client.get("/any")
    assert 429 == refused.status
    assert '"units";r=0;t=3600' == refused.field("ratelimit")
    run_json(*override, "--remove", *where)
    assert '"units";q=500;w=3600' == announced()
    run_json(*override, "0", "--until", "1h", "--reason", "stop", *where)
    assert 429 == client.get("/any").status
    run_json("token", "revoke", made["id"], *where[:2])
    assert 401 == client.get("/any").status


def test_shadow_and_near_are_recorded_and_not_seen(share: Share, redis_url: str, policies: Path) -> None:
    """A quota in shadow is in no field and refuses nothing; the access log says where it would, and what is near."""
    server = share()
    client = new_client(server, redis_url, policies, "tried")
    answers = [client.get("/any") for _ in range(13)]
    assert [200] * 12 + [429] == [answer.status for answer in answers]
    assert all('"units";q=12;w=3600' == answer.field("ratelimit-policy") for answer in answers)
    assert all("tighter" not in (answer.field("ratelimit") or "") for answer in answers)

    server.record_of(answers[-1])
    records = server.records_of(client.identity)
    assert 13 == len(records)
    near = [[], *[["tighter"]] * 8, *[["units", "tighter"]] * 4]
    assert near == [record.get("near", []) for record in records]
    exceeded = [[], [], *[["tighter"]] * 11]
    assert exceeded == [record.get("shadow_exceeded", []) for record in records]
    assert [*[1] * 12, None] == [record.get("cost") for record in records]
    assert {("tried", "acme")} == {(record["plan"], record["owner"]) for record in records}


def test_a_backend_that_is_stricter_is_heard(share: Share, redis_url: str, policies: Path) -> None:
    """Of a policy that both speak of the smaller rest stays, with its policy; what it says of others stays beside."""
    client = new_client(share(), redis_url, policies, "small")
    answer = client.get("/stricter")
    assert '"units";q=7;w=3600, "other";q=9' == answer.field("ratelimit-policy")
    assert '"units";r=3;t=9, "other";r=8' == answer.field("ratelimit")
