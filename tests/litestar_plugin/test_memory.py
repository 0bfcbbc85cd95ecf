"""What the gate remembers of a request: nothing of it is seen in an answer, and nothing secret is kept."""

import asyncio
import random
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from litestar import Litestar, Request, get, post, route
from litestar.di import NamedDependency

from gateway.litestar_plugin.memory import Memory
from gateway.plugin import GatewayPlugin, Principal, Settings, optional, requires

POLICY = """
name = "own"
upstream = "none"
token = { prefixes = ["own_"], bound_to = "project" }
[scopes]
read = "Read"
write = "Write"
[quotas]
day = "100000/day"
[[rules]]
match = "GET /stored/**"
scopes = ["read"]
cache = { fresh = "1h" }
[[rules]]
match = "* /projects/{project}/**"
scopes = ["read"]
[[rules]]
match = "GET /public"
public = true
"""
WITHOUT_READ = POLICY.replace('scopes = ["read"]', 'scopes = ["write"]')


def show(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """What a handler gets to know of its request."""
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]
    user = request.scope.get("user")
    return {
        "fields": [field for field in fields if field[0] != "x-request-id"],
        "given": request.headers.get("x-request-id", ""),
        "path": request.scope["path"],
        "who": None if user is None else msgspec.to_builtins(user),
    }


@route("/live/{rest:path}", http_method=["GET", "DELETE"], guards=[requires("read")], status_code=200)
async def live(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return show(request)


@post("/live/{rest:path}", guards=[requires("read", "write")])
async def write(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return show(request)


@get(["/stored/{rest:path}", "/projects/{project:str}/{rest:path}"], guards=[requires()])
async def stored(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return show(request)


@get("/public", guards=[optional()])
async def public(request: Request[Any, Any, Any], principal: NamedDependency[Principal | None]) -> dict[str, Any]:
    return {**show(request), "principal": None if principal is None else principal.token_id}


@get("/open/{rest:path}")
async def unguarded(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return show(request)


def build_app(plugin: GatewayPlugin) -> Litestar:
    handlers = [live, write, stored, public, unguarded]
    return Litestar(handlers, plugins=[plugin], openapi_config=None, logging_config=None)


PATHS = (
    *("/live/a", "/live/a?q=1", "/live/%61", "/live/a//b", "/stored/x", "/projects/shop/x", "/projects/else/x"),
    *("/public", "/open/a", "/nowhere"),
)
Fields = list[tuple[bytes, bytes]]


async def ask(
    app: Litestar, path: str, fields: Fields, *, method: str = "GET", peer: str = "127.0.0.1", root: str = ""
) -> tuple[int, Fields, bytes]:
    """The answer to a request, as a server asks for it."""
    plain, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(plain),
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": root,
        "headers": list(fields),
        "client": (peer, 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)  # type: ignore[arg-type]
    return sent[0]["status"], list(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def settings_of(folder: Path, redis_url: str, **others: Any) -> Settings:
    (folder / "own.toml").write_text(POLICY)
    return Settings(redis_url=redis_url, policies=str(folder), redis_timeout=5, **others)


def memory_of(plugin: GatewayPlugin) -> Memory:
    memory = plugin._gate._memory
    assert memory is not None
    return memory


def bearer(token: str) -> Fields:
    return [(b"host", b"any.example"), (b"authorization", b"Bearer " + token.encode())]


class Walk:
    """Random requests, each of them likely to come again."""

    def __init__(self, seed: int, tokens: list[str]) -> None:
        self._random = random.Random(seed)
        self._tokens = tokens

    def draw(self) -> dict[str, Any]:
        """Return the arguments of `ask`."""
        draw, tokens = self._random, self._tokens
        path = draw.choice([*PATHS, f"/live/{tokens[0]}", f"/live/a?key={tokens[0]}"])
        token = draw.choice([*tokens * 4, "own_" + "0" * 40, ""])
        scheme = draw.choice([b"Bearer ", b"Bearer ", b"bearer ", b"Basic "])
        fields: Fields = [(b"host", draw.choice([*[b"any.example"] * 5, b"any.example:80", b"ANY.example", b"b@d"]))]
        fields += [(b"authorization", scheme + token.encode())] * draw.choice([0, *[1] * 10, 2])
        more = [
            (b"x-gateway-owner", b"me"),
            (b"X_Gateway_Owner".lower(), b"me"),
            (b"x-request-id", draw.choice([b"given-1", b"given-2", b"not safe!", tokens[0].encode()])),
            (b"x-forwarded-for", draw.choice([b"192.0.2.1", b"192.0.2.2, 10.0.0.1", b"nobody"])),
            (b"x-forwarded-host", b"other.example"),
            (b"x-api-key", tokens[0].encode()),
            (b"tracestate", draw.choice([b"a=1", b"a=" + tokens[0].encode()])),
            (b"cookie", b"session=1"),
            (b"accept", draw.choice([b"application/json", b"application/json "])),
        ]
        fields += draw.sample(more, draw.choice([0, 0, 1, 2]))
        if draw.random() < 0.2:
            draw.shuffle(fields)
        return {
            "path": path,
            "fields": fields,
            "method": draw.choice(["GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS"]),
            "peer": draw.choice(["127.0.0.1", "10.0.0.9", "::ffff:10.0.0.9"]),
            "root": draw.choice(["", "", "", "/live"]),
        }


def without_holes(answer: tuple[int, Fields, bytes]) -> tuple[int, Fields, Any]:
    """An answer without what differs between two equal requests: ids that are drawn, times and numbers of quotas."""
    status, fields, content = answer
    moving = {b"x-request-id", b"ratelimit", b"age", b"cache-status", b"date", b"content-length", b"etag"}
    shown: Any = content
    if content.startswith(b"{"):
        shown = msgspec.json.decode(content, type=dict[str, Any])
        for name in ("given", "request_id"):
            if not str(shown.get(name)).startswith("given-"):
                shown.pop(name, None)
    return status, [field for field in fields if field[0] not in moving], shown


@pytest.mark.redis
@pytest.mark.parametrize("seed", range(4))
async def test_a_remembered_request_is_answered_like_one_that_is_read(
    seed: int, redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Random requests, each one three times to an app that remembers, then to one that does not: equal answers."""
    settings = settings_of(tmp_path, redis_url, trusted_proxies="10.0.0.0/8")
    remembering = GatewayPlugin(msgspec.structs.replace(settings, recognition="verify"), raise_refusals=seed % 2 == 0)
    reading = GatewayPlugin(msgspec.structs.replace(settings, recognition="off"), raise_refusals=seed % 2 == 0)
    one, other = build_app(remembering), build_app(reading)
    async with one.lifespan(), other.lifespan():
        tokens = [
            await remembering.mint("a", project="shop"),
            await remembering.mint("b", project="shop", scopes=["read"]),
            await remembering.mint("c", project="shop", scopes=["write"]),
        ]
        walk, statuses = Walk(seed, tokens), set[int]()
        for _ in range(400):
            request = walk.draw()
            answers = [await ask(one, **request) for _ in range(3)]
            expected = without_holes(await ask(other, **request))
            assert [expected] * 3 == [without_holes(answer) for answer in answers], request
            statuses.add(answers[0][0])
    assert {200, 400, 401, 403, 404} <= statuses
    assert len(memory_of(remembering)) > 20
    assert not [record for record in caplog.records if "remembered" in record.message]


async def test_verifying_finds_what_is_remembered_wrongly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The walks above would see it: here one entry is taken for another's."""
    plugin = GatewayPlugin(settings_of(tmp_path, "memory://", recognition="verify"))
    app = build_app(plugin)
    async with app.lifespan():
        fields = bearer(await plugin.mint("a", project="shop"))
        for path in ("/live/a", "/live/b"):
            assert 200 == (await ask(app, path, fields))[0]
        table = memory_of(plugin)._table._young
        first, second = table
        table[first] = table[second]
        assert 200 == (await ask(app, "/live/a", fields))[0]
    assert ["read differently" in record.message for record in caplog.records if record.levelname == "ERROR"] == [True]


async def test_revocation_and_policies_hold_on_the_next_request(tmp_path: Path) -> None:
    """Redis is asked about a remembered request as about any other, and other policies have other rules."""
    plugin = GatewayPlugin(settings_of(tmp_path, "memory://"))
    app = build_app(plugin)
    async with app.lifespan():
        reader, other = await plugin.mint("a", scopes=["read"], project="shop"), await plugin.mint("b", project="shop")
        asked = [(path, bearer(token)) for path in ("/live/a", "/projects/shop/a") for token in (reader, other)]
        for _ in range(2):
            assert [200] * 4 == [(await ask(app, *one))[0] for one in asked]
        assert 4 == len(memory_of(plugin))
        await plugin.revoke(other)
        assert [200, 401, 200, 401] == [(await ask(app, *one))[0] for one in asked]
        (tmp_path / "own.toml").write_text(WITHOUT_READ)
        assert plugin.policies.reload()
        assert [200, 401, 403, 401] == [(await ask(app, *one))[0] for one in asked]
        assert 1 == len(memory_of(plugin))


async def test_only_admitted_requests_are_remembered(tmp_path: Path) -> None:
    """Who has no good token evicts nothing."""
    plugin = GatewayPlugin(settings_of(tmp_path, "memory://"))
    app = build_app(plugin)
    async with app.lifespan():
        await plugin.mint("a", project="shop")
        unknown = "own_" + "0" * 34
        for fields in ([(b"host", b"any.example")], bearer(unknown), bearer("own_short")):
            for path in ("/live/a", "/stored/a", "/open/a"):
                await ask(app, path, fields)
    assert 0 == len(memory_of(plugin))


async def test_nothing_of_a_client_is_kept(tmp_path: Path) -> None:
    """No token, cookie or other field, and no request whose path or query has a token in it."""
    plugin = GatewayPlugin(settings_of(tmp_path, "memory://"))
    app = build_app(plugin)
    async with app.lifespan():
        token = await plugin.mint("a", project="shop")
        fields = [*bearer(token), (b"cookie", b"session=crumbs"), (b"x-secret", b"whisper")]
        for path in ("/live/a", f"/live/{token}", f"/live/a?key={token}"):
            assert 200 == (await ask(app, path, fields))[0]
    memory = memory_of(plugin)
    assert 1 == len(memory)
    kept = repr(list(memory._table._young.items()))
    assert "/live/a" in kept
    assert not [word for word in (token, "crumbs", "whisper") if word in kept]


async def test_a_blocked_client_is_refused_although_it_is_remembered(tmp_path: Path) -> None:
    """The guard on guessing comes before what is remembered, as it comes before a credential is checked."""
    plugin = GatewayPlugin(settings_of(tmp_path, "memory://", failed_credentials="3/minute"))
    app = build_app(plugin)
    async with app.lifespan():
        fields = bearer(await plugin.mint("a", project="shop"))
        assert [200, 200] == [(await ask(app, "/live/a", fields))[0] for _ in range(2)]
        for _ in range(4):
            await ask(app, "/live/a", bearer("own_short"))
        assert 429 == (await ask(app, "/live/a", fields))[0]
        assert 200 == (await ask(app, "/live/a", fields, peer="192.0.2.1"))[0]


async def test_equal_requests_at_once_are_each_their_own(tmp_path: Path) -> None:
    """They share what was read of them, and neither an id nor the principal's request."""
    plugin = GatewayPlugin(settings_of(tmp_path, "memory://"))
    app = build_app(plugin)
    async with app.lifespan():
        fields = bearer(await plugin.mint("a", project="shop"))
        await ask(app, "/live/a", fields)
        answers = await asyncio.gather(*(ask(app, "/live/a", fields) for _ in range(8)))
    assert [200] * 8 == [status for status, *_ in answers]
    ids = {dict(head)[b"x-request-id"] for _, head, _ in answers}
    assert ids == {msgspec.json.decode(content)["given"].encode() for *_, content in answers}
    assert 8 == len(ids)
