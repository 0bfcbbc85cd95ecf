"""The steps of the demo's story. Each checks its own outcome, and raises `Unexpected` if it is another one.

Rule: a step sends the request that its command sends. The commands keep the token in the shell's TOKEN, so they can be
repeated in order from step 2 on, as often as one likes, whatever became of the story's own token.
"""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from typing import TypeAlias

import msgspec

from gateway.demo import client
from gateway.demo.client import Reply
from gateway.demo.stage import Stage
from gateway.demo.transcript import show_command, show_heading, show_line, show_reply

EXPORT = "/api/v1/tokensets/acme-core/modes/light/export"
WORKSPACES = "/api/v1/workspaces"
MANAGEMENT = "/api/v1"
OWNER = "acme"
BEARER = '-H "Authorization: Bearer $TOKEN"'
ADMIN_BEARER = '-H "Authorization: Bearer $ADMIN"'
IS_JSON = "-H 'Content-Type: application/json'"
MAXIMUM_PULLS = 50
"""More than any sensible quota of the demo."""

Step: TypeAlias = Callable[[], Awaitable[None]]


class StepFailed(Exception):
    """A step had another outcome than the story tells; the message names the step."""


class Unexpected(Exception):
    """A request had another outcome than the story tells."""


class Minted(msgspec.Struct, frozen=True):
    """The fields of the answer to a token's creation that the story needs."""

    id: str
    token: str
    scopes: list[str]

    def __repr__(self) -> str:
        return f"Minted({self.id})"


class Story:
    """The story on one stage; `tell` runs all of it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._export = stage.gateway_url + EXPORT
        self._management = stage.admin_url + MANAGEMENT
        self._token = ""
        self._tag = ""
        self._steps: tuple[tuple[str, Step], ...] = (
            ("Without a token, the gateway refuses every request", self._ask_without_token),
            ("Mint a token: its text is shown once, the store keeps only a digest", self._mint),
            ("Pull an export: the gateway fetches it from the backend and stores it", self._pull),
            ("Pull it again with its entity tag: nothing has changed", self._pull_again),
            ("Try to write: the token has the scope `read` only", self._write),
            ("Pull until the limit is reached", self._pull_until_limit),
            ("Revoke the token: the gateway refuses its next request", self._revoke),
        )

    async def tell(self) -> None:
        """Print and do each step; raise StepFailed at the first that has another outcome."""
        for number, (title, step) in enumerate(self._steps, start=1):
            show_heading(f"{number}. {title}")
            try:
                await step()
            except Unexpected as error:
                raise StepFailed(f"step {number} ({title}) failed: {error}") from error

    async def _ask_without_token(self) -> None:
        show_command('curl -i "$EXPORT"')
        reply = await ask("GET", self._export)
        show_reply(reply, "WWW-Authenticate")
        expect_status(reply, 401)
        expect_field(reply, "WWW-Authenticate", f'Bearer realm="{self._stage.policy}"')

    async def _mint(self) -> None:
        request = {"policy": self._stage.policy, "owner": OWNER, "name": "CI job", "scopes": ["read"]}
        content = msgspec.json.encode(request)
        show_command(
            f"TOKEN=$(curl -fsS {ADMIN_BEARER}",
            IS_JSON,
            f"-d {shlex.quote(content.decode())}",
            '"$API/tokens" | grep -oE \'demo_[0-9A-Za-z]{40}\'); echo "$TOKEN"',
        )
        reply = await ask(
            "POST",
            f"{self._management}/tokens",
            content,
            Authorization=f"Bearer {self._stage.admin_token}",
            Content_Type="application/json",
        )
        expect_status(reply, 201)
        minted = msgspec.json.decode(reply.content, type=Minted)
        show_line(minted.token)
        show_line(f"id {minted.id}, owner {OWNER}, scope {' '.join(minted.scopes)}")
        self._token = minted.token

    async def _pull(self) -> None:
        show_command(f'curl -sD- -o export.json {BEARER} "$EXPORT"')
        reply = await self._ask("GET", self._export)
        note = f", {len(reply.content):,} bytes, {reply.field('Content-Type')}"
        show_reply(reply, "ETag", "Cache-Status", "RateLimit", note=note)
        expect_status(reply, 200)
        expect_field(reply, "ETag", 'W/"')
        expect_field(reply, "Cache-Status", "gateway; fwd=uri-miss; stored")
        self._tag = reply.field("ETag")

    async def _pull_again(self) -> None:
        show_command(f"curl -i {BEARER}", f'-H {shlex.quote(f"If-None-Match: {self._tag}")} "$EXPORT"')
        reply = await self._ask("GET", self._export, If_None_Match=self._tag)
        show_reply(reply, "ETag", "Cache-Status", "RateLimit", note=", no content")
        expect_status(reply, 304)
        expect_field(reply, "ETag", self._tag)
        expect_field(reply, "Cache-Status", "gateway; hit")

    async def _write(self) -> None:
        url, content = self._stage.gateway_url + WORKSPACES, '{"name": "Mine"}'
        show_command(f"curl -i {BEARER}", f"{IS_JSON} -d {shlex.quote(content)}", shlex.quote(url))
        reply = await self._ask("POST", url, content.encode(), Content_Type="application/json")
        show_reply(reply, "WWW-Authenticate")
        expect_status(reply, 403)
        expect_field(reply, "WWW-Authenticate", f'Bearer realm="{self._stage.policy}", error="insufficient_scope"')

    async def _pull_until_limit(self) -> None:
        show_command(f"while curl -fsSD- -o export.json {BEARER}", '"$EXPORT"; do :; done')
        for _ in range(MAXIMUM_PULLS):
            reply = await self._ask("GET", self._export)
            if reply.status != 200:
                break
            show_line(f"200 OK, RateLimit: {reply.field('RateLimit')}")
        else:
            raise Unexpected(f"{MAXIMUM_PULLS} pulls did not reach the limit")
        if reply.status == 429:
            explain_retry_after(reply)
        show_reply(reply, "Retry-After", "RateLimit-Policy", "RateLimit")
        expect_status(reply, 429)

    async def _revoke(self) -> None:
        show_command('curl -i -d "token=$TOKEN" "$API/revoke"')
        reply = await ask(
            "POST",
            f"{self._management}/revoke",
            f"token={self._token}".encode(),
            Content_Type="application/x-www-form-urlencoded",
        )
        show_reply(reply)
        expect_status(reply, 200)
        show_command(f'curl -i {BEARER} "$EXPORT"')
        reply = await self._ask("GET", self._export)
        show_reply(reply, "WWW-Authenticate")
        expect_status(reply, 401)
        expect_field(reply, "WWW-Authenticate", f'Bearer realm="{self._stage.policy}", error="invalid_token"')

    async def _ask(self, method: str, url: str, content: bytes | None = None, **fields: str) -> Reply:
        """Ask with the story's token."""
        return await ask(method, url, content, Authorization=f"Bearer {self._token}", **fields)


async def ask(method: str, url: str, content: bytes | None = None, **fields: str) -> Reply:
    """Send a request (`Content_Type` is Content-Type) and return the response; raise Unexpected if there is none."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    try:
        return await asyncio.to_thread(client.ask, method, url, named, content)
    except (OSError, HTTPException) as error:
        raise Unexpected(f"{method} {url} was not answered: {error or type(error).__name__}") from error


def explain_retry_after(reply: Reply) -> None:
    """Say why Retry-After is larger than t, if it is; raise Unexpected if one of them is not a number."""
    retry_after, reset = reply.field("Retry-After"), reply.field("RateLimit").rpartition(";t=")[2]
    if not (retry_after.isdecimal() and reset.isdecimal()):
        raise Unexpected(f"Retry-After is {retry_after!r} and t is {reset!r}: one of them is not a number of seconds")
    if int(retry_after) > int(reset):
        show_line("Now the limit is reached. Retry-After is t plus a delay that differs from")
        show_line("token to token, so that clients do not all come back at once:")


def expect_status(reply: Reply, status: int) -> None:
    """Raise Unexpected if the response has another status."""
    if reply.status != status:
        raise Unexpected(f"the status is {reply.status}, expected {status}")


def expect_field(reply: Reply, name: str, beginning: str) -> None:
    """Raise Unexpected if the field is absent or begins otherwise."""
    if not reply.field(name).startswith(beginning):
        raise Unexpected(f"{name} is {reply.field(name)!r}, expected {beginning!r}")
