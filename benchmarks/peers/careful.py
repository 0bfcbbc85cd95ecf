"""What a careful team writes around a Litestar app of its own: one middleware, one script, nothing that is not needed.

The middleware is pure ASGI, so Litestar builds no request for it. Redis gets one call a request, by the script that the
other peers use (admit.lua). `/live` is a handler of the app, `/export` the same behind a cache with entity tags.
"""

import asyncio
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import redis.asyncio
import redis.exceptions
from litestar import Litestar, MediaType, get
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.backend import CONTENT

FRESH_SECONDS = 3600
LOG_BYTES = 1 << 16
TITLES = {
    401: (b"Unauthorized", b"invalid_token"),
    403: (b"Forbidden", b"insufficient_scope"),
    429: (b"Too Many Requests", b"quota_exceeded"),
    503: (b"Service Unavailable", b"store_unavailable"),
}
store = redis.asyncio.Redis.from_url(os.environ["PEER_REDIS_URL"], socket_timeout=5, max_connections=64)
admit = store.register_script((Path(__file__).parent / "admit.lua").read_text())


class Stored(NamedTuple):
    """A stored answer of the app. `stored_at` is in Unix seconds."""

    kind: bytes
    content: bytes
    tag: bytes
    stored_at: float


class Seen:
    """What the answer and the access log say of one request. Times are Unix seconds."""

    def __init__(self, scope: Any) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.client: str = (scope["client"] or ("", 0))[0]
        self.id = uuid.uuid4().hex
        self.began_at = time.time()
        self.token = self.owner = self.reason = ""
        self.fields: list[tuple[bytes, bytes]] = [(b"x-request-id", self.id.encode())]


class Log:
    """An access log of JSON lines, written in pieces of LOG_BYTES, and at least once a second."""

    def __init__(self, path: str) -> None:
        self._file: IO[bytes] | None = Path(path).open("ab", buffering=LOG_BYTES) if path else None  # noqa: SIM115 - open until the process ends
        self._is_flush_due = False

    def record(self, seen: Seen, status: int, size: int) -> None:
        """Append the line of a request."""
        if self._file is None:
            return
        line = {
            "time": seen.began_at,
            "request_id": seen.id,
            "method": seen.method,
            "path": seen.path,
            "status": status,
            "reason": seen.reason,
            "token": seen.token,
            "owner": seen.owner,
            "client": seen.client,
            "bytes": size,
            "duration_seconds": time.time() - seen.began_at,
        }
        self._file.write(msgspec.json.encode(line) + b"\n")
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_later(1, self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._file is not None:
            self._file.flush()


class Gate:
    """The middleware: it admits a request, answers from the cache, or lets the app answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = Log(os.environ.get("PEER_LOG", ""))
        self._cache: dict[str, Stored] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        seen, fields = Seen(scope), dict(scope["headers"])
        status, wait = await self._check(seen, fields.get(b"authorization", b""))
        if status != 200:
            await self._refuse(seen, send, status, wait)
            return
        if not seen.path.startswith("/export"):
            await self._app(scope, receive, self._mark(seen, send))
            return
        stored = self._cache.get(seen.path)
        if stored is None or seen.began_at - stored.stored_at > FRESH_SECONDS:
            stored = self._cache[seen.path] = await self._fetch(scope, receive, seen.began_at)
        await self._serve(seen, send, stored, fields.get(b"if-none-match", b""))

    async def _check(self, seen: Seen, credentials: bytes) -> tuple[int, int]:
        """Return the status of the verdict, and the seconds to wait."""
        scheme, _, token = credentials.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            return 401, 0
        digest, now = hashlib.sha256(token).hexdigest(), int(seen.began_at)
        try:
            found = await admit([f"peer:token:{digest}", "peer:revoked", f"peer:count:{digest}:"], [digest, now])
        except redis.exceptions.RedisError:
            return 503, 1
        if not found:
            return 401, 0
        owner, scopes, expires_at, limit, window, is_revoked, used = found
        if is_revoked or int(expires_at) <= now:
            return 401, 0
        seen.token, seen.owner = digest[:24], owner.decode()
        if b"read" not in scopes.split():
            return 403, 0
        left, wait = int(limit) - used, int(window) - now % int(window)
        seen.fields.append((b"ratelimit-policy", b'"minute";q=%b;w=%b' % (limit, window)))
        seen.fields.append((b"ratelimit", b'"minute";r=%d;t=%d' % (max(0, left), wait)))
        return (429, wait) if left < 0 else (200, 0)

    async def _refuse(self, seen: Seen, send: Send, status: int, wait: int) -> None:
        title, reason = TITLES[status]
        seen.reason = reason.decode()
        content = b'{"type":"about:blank","title":"%b","status":%d,"reason":"%b","request_id":"%b"}' % (
            title,
            status,
            reason,
            seen.id.encode(),
        )
        fields = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
        if status in (401, 403):
            fields.append((b"www-authenticate", b'Bearer realm="bench", error="%b"' % reason))
        if wait:
            fields.append((b"retry-after", b"%d" % wait))
        await self._send(seen, send, status, fields, content)

    async def _serve(self, seen: Seen, send: Send, stored: Stored, condition: bytes) -> None:
        age = int(seen.began_at - stored.stored_at)
        fields = [
            (b"etag", stored.tag),
            (b"cache-control", b"private, no-cache"),
            (b"vary", b"accept-encoding"),
            (b"age", b"%d" % age),
            (b"cache-status", b"careful; hit; ttl=%d" % (FRESH_SECONDS - age)),
        ]
        if condition and (condition == b"*" or stored.tag[2:] in condition):
            await self._send(seen, send, 304, fields, b"")
        else:
            await self._send(seen, send, 200, [(b"content-type", stored.kind), *fields], stored.content)

    async def _send(
        self, seen: Seen, send: Send, status: int, fields: list[tuple[bytes, bytes]], content: bytes
    ) -> None:
        length = [] if status == 304 else [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": [*fields, *length, *seen.fields]})
        await send({"type": "http.response.body", "body": content, "more_body": False})
        self._log.record(seen, status, len(content))

    def _mark(self, seen: Seen, send: Send) -> Callable[[Message], Any]:
        """Return a sender that adds the gate's fields to the app's answer, and records its end."""
        status = size = 0

        async def marked(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *seen.fields]
            elif message["type"] == "http.response.body":
                size += len(message["body"])
            await send(message)
            if message["type"] == "http.response.body" and not message["more_body"]:
                self._log.record(seen, status, size)

        return marked

    async def _fetch(self, scope: Scope, receive: Receive, now: float) -> Stored:
        """Return the app's own answer, to be stored."""
        fields: dict[bytes, bytes] = {}
        pieces: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields.update(message["headers"])
            elif message["type"] == "http.response.body":
                pieces.append(message["body"])

        await self._app(scope, receive, collect)
        content = b"".join(pieces)
        tag = b'W/"%b"' % hashlib.md5(content, usedforsecurity=False).hexdigest().encode()
        return Stored(fields[b"content-type"], content, tag, now)


@get(["/live", "/export"], media_type=MediaType.JSON)
async def live() -> bytes:
    """Answer 2 KiB."""
    return CONTENT


app = Gate(Litestar([live], openapi_config=None, logging_config=None))
