"""What is asked of what: the rows of the tables, in their order. stage.py and peers/ start the servers.

Every row has tokens that the load generator draws in turn, heads as a real client sends them (clients.py), and an
access log, unless its name says otherwise. What a row is compared with (`base`) comes directly before or behind it.
"""

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import redis

from benchmarks.backend import HUGE_TARGET, LARGE_TARGET
from benchmarks.clients import AUTHORIZED, TURN, Field, build_head
from benchmarks.job import check_job
from benchmarks.peers.processes import (
    FAR,
    Front,
    NginxLua,
    Tokens,
    build_tokens,
    serve_careful,
    serve_front,
    serve_naive,
    serve_nginx,
    serve_node,
)
from benchmarks.stage import (
    ALIKE,
    ASKED,
    FEW_CONNECTIONS,
    OTHERS,
    REDIS_TIMEOUT_SECONDS,
    TOKENS_OF_OTHERS,
    UVICORN,
    Row,
    Served,
    Stage,
    ask_head,
)

JOB, EXTRAS, LATENCY, APPS, TLS, ORIENTATION = (
    "The whole job",
    "Variations of the cached export",
    "One connection",
    "Inside of a Litestar app",
    "With TLS 1.3",
    "For orientation",
)
"""The sections: each is a table."""
NGINX, NGINX_UNLOGGED = "nginx + Lua", "nginx + Lua, no log"
BY_HAND = "Litestar, by hand"
GATEWAY, GATEWAY_UNLOGGED, GATEWAY_UNRECOGNISED = "gateway", "gateway, no log", "gateway, recognition off"
CACHED, NOT_MODIFIED, UNKNOWN, OVER_LIMIT, LARGE, PROXIED = (
    "cached 2 KiB",
    "304",
    "unknown token",
    "over the limit",
    "cached 64 KiB",
    "proxied 2 KiB",
)
LOGS = {NGINX: "nginx", GATEWAY_UNRECOGNISED: "unrecognised", BY_HAND: "careful"}
"""Names of access logs that are not those of their servers."""
AGAIN = "cached 2 KiB, once more"
JOB_FIELD = (("X-CI-Job", TURN),)
REPEATS, FEW_TOKENS = 10, 100
"""How often a job asks with the same bytes in the row that includes learning, and with how many tokens: with more, a
slow machine would end before anything comes again."""


class Asked(msgspec.Struct, frozen=True):
    """One kind of request, and how it is answered."""

    kind: str
    target: str
    tokens: str
    """The name of the field of `Tokens`."""
    status: int = 200
    is_conditional: bool = False
    is_hit: bool = False


KINDS = (
    Asked(CACHED, "/export", "many", is_hit=True),
    Asked(NOT_MODIFIED, "/export", "many", 304, is_conditional=True, is_hit=True),
    Asked(UNKNOWN, "/export", "unknown", 401),
    Asked(OVER_LIMIT, "/export", "small", 429),
    Asked(LARGE, LARGE_TARGET, "many", is_hit=True),
    Asked(PROXIED, "/live", "many"),
)
OF_CAREFUL = (CACHED, NOT_MODIFIED, UNKNOWN, OVER_LIMIT)
"""The careful app proxies nothing."""


class Server(msgspec.Struct, frozen=True):
    """A server that does the whole job. `hit` is how its Cache-Status begins, `tag` its entity tag of /export."""

    name: str
    served: Served
    tokens: Tokens
    hit: str
    base: str = ""
    """The name of the server that it is compared with."""
    tag: str = ""

    def row(self, asked: Asked, section: str = JOB, **changes: object) -> Row:
        """Return the row of a kind of request."""
        own: Sequence[Field] = (*AUTHORIZED, ("If-None-Match", self.tag)) if asked.is_conditional else AUTHORIZED
        row = Row(
            section,
            asked.kind,
            self.name,
            (self.served.pid,),
            self.served.port,
            build_head(asked.target, own),
            getattr(self.tokens, asked.tokens),
            status=asked.status,
            cache_status=self.hit if asked.is_hit else "",
            uses_redis=True,
            base=f"{asked.kind}: {self.base}" if self.base else "",
        )
        return msgspec.structs.replace(row, **changes)


def build_rows(stage: Stage) -> Iterator[Row]:
    """Yield all rows, in the order of the tables."""
    of_gateway = Tokens(stage.tokens("one"), stage.tokens("small"), stage.tokens("unknown"), stage.revoked_token())
    of_peers = build_tokens(stage)
    nginx = serve_nginx(stage)
    gateway = stage.serve_gateway("gateway")
    servers = list(_servers(stage, gateway, nginx, of_gateway, of_peers))
    yield from _whole_job(servers)
    yield from _extras(stage, servers, of_gateway)
    front = serve_front(stage, gateway)
    yield from _one_connection(stage, servers, front)
    (careful,) = [one.served for one in servers if one.name == BY_HAND]
    yield from _apps(stage, careful, of_gateway, of_peers)
    yield from _secure(servers, front, nginx)
    yield from _orientation(stage, gateway, of_gateway, front)


def _servers(
    stage: Stage, gateway: Served, nginx: NginxLua | None, of_gateway: Tokens, of_peers: Tokens
) -> Iterator[Server]:
    """Yield the servers that take part in each kind of request; what is compared is side by side."""
    base, unlogged_base = (NGINX, NGINX_UNLOGGED) if nginx else ("", "")
    hit = "gateway; hit"
    found = [Server(GATEWAY, gateway, of_gateway, hit, base)]
    if nginx:
        found.append(Server(NGINX, nginx.logged, of_peers, "nginx; hit"))
    found.append(
        Server(GATEWAY_UNLOGGED, stage.serve_gateway("unlogged", is_logged=False), of_gateway, hit, unlogged_base)
    )
    if nginx:
        found.append(Server(NGINX_UNLOGGED, nginx.unlogged, of_peers, "nginx; hit"))
    unrecognised = stage.serve_gateway("unrecognised", recognition="off")
    found.append(Server(GATEWAY_UNRECOGNISED, unrecognised, of_gateway, hit, base))
    if node := serve_node(stage):
        found.append(Server("node", node, of_peers, "node; hit", base))
    found.append(Server(BY_HAND, serve_careful(stage), of_peers, "careful; hit", base))
    for one in found:
        log = None if "no log" in one.name else stage.folder / f"{LOGS.get(one.name, one.name)}.access.log"
        tag = check_job(one.name, one.served, one.tokens, proxies=one.name != BY_HAND, log=log)
        ask_head(
            one.served.port, build_head(LARGE_TARGET), Path(one.tokens.many).read_text().split()[0]
        )  # is stored now
        yield msgspec.structs.replace(one, tag=tag)


def _whole_job(servers: list[Server]) -> Iterator[Row]:
    for asked in KINDS:
        for server in servers:
            if server.name != BY_HAND or asked.kind in OF_CAREFUL:
                yield server.row(asked, group=asked.kind)


def _extras(stage: Stage, servers: list[Server], tokens: Tokens) -> Iterator[Row]:
    """Yield rows of gateways of their own, with few tokens: together they have to fit what a worker remembers."""
    base = ""
    for server in servers:
        if server.name == NGINX:
            yield server.row(KINDS[0], EXTRAS, kind=AGAIN)
            base = f"{AGAIN}: {NGINX}"
    others, learning = stage.serve_gateway("others"), stage.serve_gateway("learning")
    unrecognised = stage.serve_gateway("unrecognised others", recognition="off")
    asked_by_nginx = stage.serve_gateway("asked", trusted_proxies="127.0.0.1")
    few = stage.first_of(tokens.many, TOKENS_OF_OTHERS)

    def row(kind: str, server: str, at: Served, head: str, of: str = few, **more: object) -> Row:
        made = Row(EXTRAS, kind, server, (at.pid,), at.port, head, of, uses_redis=True, base=base)
        return msgspec.structs.replace(made, **{"cache_status": "gateway; hit", **more})

    yield row("one token", GATEWAY, others, build_head("/export"), stage.first_of(tokens.many, 1))
    for client in ("python-requests", "Node's fetch"):
        yield row(f"as {client} sends it", GATEWAY, others, build_head("/export", client=client))
    coded = (*AUTHORIZED, ("Accept-Encoding", "br"))
    yield row("64 KiB, br", GATEWAY, others, build_head(LARGE_TARGET, coded))
    for plan in ("four", *OTHERS):
        name = "four quotas" if plan == "four" else plan
        yield row(name, GATEWAY, others, build_head("/export"), stage.tokens(plan, TOKENS_OF_OTHERS))
    job = build_head("/export", (*AUTHORIZED, *JOB_FIELD))
    often = f"each request {REPEATS} times, learning included"
    yield row(often, GATEWAY, learning, job, stage.first_of(tokens.many, FEW_TOKENS), repeats=REPEATS)
    yield row("no request twice", GATEWAY, learning, job, repeats=1)
    yield row("no request twice", GATEWAY_UNRECOGNISED, unrecognised, job, repeats=1)
    asking = build_head("/-/authorize/nginx", (*ASKED, *AUTHORIZED))
    yield row("forward-auth", GATEWAY, asked_by_nginx, asking, cache_status="")
    port_of = _serve_unguarded(stage)
    yield row("without admission", "gateway, no recognition, no log", port_of, build_head("/export"))


def _serve_unguarded(stage: Stage) -> Served:
    settings = {
        "GATEWAY_POLICIES": str(stage.policies),
        "GATEWAY_REDIS_URL": stage.redis_url,
        "GATEWAY_REDIS_TIMEOUT": str(REDIS_TIMEOUT_SECONDS),
        "GATEWAY_RECOGNITION": "off",
    }
    ours = ("--http", "gateway.server.connection:Connection", "--ws", "none")
    app = (*UVICORN, *ours, *ALIKE, "benchmarks.unguarded:app")
    return stage.serve_app("unguarded", *app, environment=settings)


def _one_connection(stage: Stage, servers: list[Server], front: Front | None) -> Iterator[Row]:
    """Yield what one client waits that asks one thing after the other."""
    for asked in KINDS:
        for server in servers:
            if server.name in (GATEWAY, NGINX) and asked.kind in (CACHED, PROXIED):
                base = f"{asked.kind}, alone: {server.base}" if server.base else ""
                yield server.row(asked, LATENCY, kind=f"{asked.kind}, alone", connections=1, base=base)
    if front:
        plain = front.plain
        yield Row(
            LATENCY, "proxied, alone", "nginx, no checks", (plain.pid,), plain.port, build_head("/live"), connections=1
        )


def _apps(stage: Stage, careful: Served, of_gateway: Tokens, of_peers: Tokens) -> Iterator[Row]:
    """Yield what a handler of an app costs: bare, behind a careful middleware, and behind the plugin."""
    app = (*UVICORN, *ALIKE, "benchmarks.own_app:app")
    bare = stage.serve_app("bare app", *app)
    settings = {
        "GATEWAY_POLICIES": str(stage.policies),
        "GATEWAY_REDIS_URL": stage.redis_url,
        "GATEWAY_REDIS_TIMEOUT": str(REDIS_TIMEOUT_SECONDS),
        "GATEWAY_ACCESS_LOG": str(stage.new_log("plugin")),
        "BENCHMARK_PLUGIN": "1",
    }
    plugin = stage.serve_app("plugin", *app, environment=settings)
    base, hit = "handler: Litestar, bare", "gateway; hit"
    yield Row(APPS, "handler", "Litestar, bare", (bare.pid,), bare.port, build_head("/live"))
    for server, served, tokens in (
        ("middleware by hand", careful, of_peers.many),
        ("plugin", plugin, of_gateway.many),
    ):
        pids, head = (served.pid,), build_head("/live")
        yield Row(APPS, "handler", server, pids, served.port, head, tokens, uses_redis=True, base=base)
    for server, served, tokens, begin in (
        ("middleware by hand", careful, of_peers.many, "careful; hit"),
        ("plugin", plugin, of_gateway.many, hit),
    ):
        pids, head = (served.pid,), build_head("/export")
        yield Row(APPS, "cached", server, pids, served.port, head, tokens, 0, 200, begin, uses_redis=True, base=base)


def _secure(servers: list[Server], front: Front | None, nginx: NginxLua | None) -> Iterator[Row]:
    """Yield the gateway behind an nginx that has TLS, both counted, and nginx + Lua with TLS of its own."""
    for server in servers:
        if server.name == GATEWAY and front:
            pids = (server.served.pid, front.secure.pid)
            changes = {"server": "nginx (TLS) + gateway", "pids": pids, "port": front.secure.port, "is_tls": True}
            yield server.row(
                KINDS[0], TLS, kind="cached, TLS", base=f"cached, TLS: {NGINX}" if nginx else "", **changes
            )
        if server.name == NGINX and nginx:
            yield server.row(KINDS[0], TLS, kind="cached, TLS", port=nginx.secure.port, is_tls=True)


def _orientation(stage: Stage, gateway: Served, tokens: Tokens, front: Front | None) -> Iterator[Row]:
    hello = stage.serve_app("hello", *UVICORN, "--lifespan", "off", "benchmarks.hello:app")
    yield Row(ORIENTATION, "2 KiB", "bare uvicorn", (hello.pid,), hello.port, build_head("/"))
    if front:
        yield Row(
            ORIENTATION, "proxied 2 KiB", "nginx, no checks", (front.plain.pid,), front.plain.port, build_head("/live")
        )
    if importlib.util.find_spec("httpx"):
        served = serve_naive(stage)
        own = stage.write_tokens("naive", _naive_tokens(stage))
        head = build_head("/live")
        yield Row(ORIENTATION, "proxied 2 KiB", "naive stack", (served.pid,), served.port, head, own, uses_redis=True)
    else:
        stage.missing.append("the naive stack: it needs httpx (pip install token-gateway[bench])")
    huge, few = build_head(HUGE_TARGET), FEW_CONNECTIONS
    yield Row(ORIENTATION, "10 MiB", "gateway", (gateway.pid,), gateway.port, huge, tokens.many, connections=few)
    if front:
        yield Row(
            ORIENTATION, "10 MiB", "nginx, no checks", (front.plain.pid,), front.plain.port, huge, connections=few
        )


def _naive_tokens(stage: Stage) -> list[str]:
    texts = [f"naive-{number:032x}" for number in range(TOKENS_OF_OTHERS)]
    record = json.dumps({"owner": "o", "scopes": ["read"], "expires_at": FAR})
    with redis.Redis.from_url(stage.redis_url) as client:
        client.mset({f"naive:token:{hashlib.sha256(text.encode()).hexdigest()}": record for text in texts})
    return texts
