"""What a team would otherwise write: tokens, a rate limit and a proxy from the usual libraries, in one file.

It is kept fair: one pipeline for record and revocation, the cheaper of the window strategies, one HTTP client with a
connection for every client, answers passed on whole. It does less than the gateway: no plans, no cache, no atomic
charge, no bound on a silent Redis, repeated field lines are merged.
"""

import hashlib
import os
import time

import httpx
import msgspec
import redis.asyncio
from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from litestar import HttpMethod, Litestar, Request, Response, route
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

RECORD = "naive:token:"
REVOKED = "naive:revoked"
QUOTA = parse("1000000000/minute")
HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
METHODS = [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE]


class Token(msgspec.Struct):
    """What Redis keeps of a token."""

    owner: str
    scopes: list[str]
    expires_at: float


store = redis.asyncio.Redis.from_url(os.environ["NAIVE_REDIS_URL"])
limiter = FixedWindowRateLimiter(RedisStorage("async+" + os.environ["NAIVE_REDIS_URL"], implementation="redispy"))
client = httpx.AsyncClient(
    base_url=os.environ["NAIVE_UPSTREAM"],
    limits=httpx.Limits(max_connections=100, max_keepalive_connections=100),  # by default only 20 are kept
)
decoder = msgspec.json.Decoder(Token)


class Authentication(AbstractAuthenticationMiddleware):
    """Middleware that finds the token of a request."""

    async def authenticate_request(
        self, connection: ASGIConnection[Litestar, Token, str, State]
    ) -> AuthenticationResult:
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise NotAuthorizedException("a bearer token is needed")
        digest = hashlib.sha256(text.encode()).hexdigest()
        async with store.pipeline(transaction=False) as pipeline:
            pipeline.get(RECORD + digest)
            pipeline.sismember(REVOKED, digest)
            raw, is_revoked = await pipeline.execute()
        token = decoder.decode(raw) if raw and not is_revoked else None
        if token is None or token.expires_at < time.time():
            raise NotAuthorizedException("the token is not valid")
        return AuthenticationResult(user=token, auth=digest)


@route("/{path:path}", http_method=METHODS)
async def proxy(request: Request[Token, str, State]) -> Response[bytes]:
    """Charge the quota and pass the request on."""
    if "read" not in request.user.scopes:
        raise PermissionDeniedException
    if not await limiter.hit(QUOTA, request.auth):
        raise TooManyRequestsException
    window = await limiter.get_window_stats(QUOTA, request.auth)
    fields = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    del fields["authorization"], fields["host"]
    fields["x-owner"] = request.user.owner
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    answer = await client.request(request.method, url, headers=fields, content=await request.body())
    headers = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    headers["ratelimit"] = f'"minute";r={window.remaining};t={max(0, round(window.reset_time - time.time()))}'
    return Response(answer.content, status_code=answer.status_code, headers=headers)


async def close() -> None:
    """Close all connections."""
    await client.aclose()
    await store.aclose()


app = Litestar([proxy], middleware=[Authentication], on_shutdown=[close], openapi_config=None, logging_config=None)
