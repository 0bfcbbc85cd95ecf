"""The steps of the demo's story. Each checks its own outcome and raises `Unexpected` where it is another one."""

import asyncio
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from typing import TypeAlias

from gateway.cli.demo import client
from gateway.cli.demo.client import Reply
from gateway.cli.demo.stage import Stage
from gateway.cli.demo.transcript import show_command, show_line, show_reply, show_step
from gateway.core.administration import TokenRequest, TokenState
from gateway.core.errors import GatewayError
from gateway.core.records import TokenRecord
from gateway.core.tokens import token_id

EXPORT = "/api/v1/tokensets/acme-core/modes/light/export"
WORKSPACES = "/api/v1/workspaces"
OWNER = "acme"
BEARER = '-H "Authorization: Bearer $TOKEN"'
MOST_PULLS = 50
"""More than any quota one would give the demo."""

Step: TypeAlias = Callable[[], Awaitable[None]]


class StepFailed(Exception):
    """A step did not go as told; the message names it."""


class Unexpected(Exception):
    """Something else came than the story tells."""


class Story:
    """The story on one stage; `tell` tells all of it."""

    def __init__(self, stage: Stage) -> None:
        self.token = ""
        self.record: TokenRecord
        self._stage = stage
        self._tag = ""
        self._steps: tuple[tuple[str, Step], ...] = (
            ("Without a token nothing is served", self._ask_without_token),
            ("A token is minted: its text is shown now and never again", self._mint),
            ("Pull an export: the gateway asks the backend and keeps the answer", self._pull),
            ("Pull it again, naming what we have: nothing has changed", self._pull_again),
            ("Write something: the token holds the scope `read` only", self._write),
            ("Pull until the limit", self._pull_until_limit),
            ("Revoke the token: the very next request is refused", self._revoke),
        )

    async def tell(self) -> None:
        """Prints each step and does it; StepFailed at the first that goes otherwise."""
        for number, (title, step) in enumerate(self._steps, start=1):
            show_step(number, title)
            try:
                await step()
            except (Unexpected, GatewayError, OSError, HTTPException) as error:
                raise StepFailed(f"step {number} ({title}) went otherwise: {error}") from error

    async def _ask_without_token(self) -> None:
        show_command("curl -i $EXPORT")
        reply = await self._ask("GET", EXPORT)
        show_reply(reply, "WWW-Authenticate")
        expect_status(reply, 401)
        expect_field(reply, "WWW-Authenticate", f'Bearer realm="{self._stage.policy.name}"')

    async def _mint(self) -> None:
        if self._stage.has_redis:
            show_command(*mint_command(self._stage, "CI job"))
        self.token, self.record = await self._stage.mint(TokenRequest(name="CI job", owner=OWNER, scopes=("read",)))
        show_line(f"TOKEN={self.token}")
        show_line(f"its id is {token_id(self.record.digest)}, its owner {OWNER}, its scope {self.record.scopes}")
        if await self._stage.state(self.record) is not TokenState.ACTIVE:
            raise Unexpected("the new token is not active")

    async def _pull(self) -> None:
        show_command(f"curl -sD- -o export.json {BEARER} $EXPORT")
        reply = await self._ask("GET", EXPORT, Authorization=self._bearer)
        note = f", {len(reply.content):,} bytes, {reply.field('Content-Type')}"
        show_reply(reply, "ETag", "Cache-Status", "RateLimit", note=note)
        expect_status(reply, 200)
        expect_field(reply, "ETag", 'W/"')
        expect_field(reply, "Cache-Status", "gateway; fwd=uri-miss; stored")
        self._tag = reply.field("ETag")

    async def _pull_again(self) -> None:
        show_command(f"curl -i {BEARER} \\", f"-H 'If-None-Match: {self._tag}' $EXPORT")
        reply = await self._ask("GET", EXPORT, Authorization=self._bearer, If_None_Match=self._tag)
        show_reply(reply, "ETag", "Cache-Status", "RateLimit", note=", no content")
        expect_status(reply, 304)
        expect_field(reply, "ETag", self._tag)
        expect_field(reply, "Cache-Status", "gateway; hit")

    async def _write(self) -> None:
        show_command(f"curl -i {BEARER} \\", f'--json \'{{"name": "Mine"}}\' {self._stage.gateway_url}{WORKSPACES}')
        reply = await self._ask(
            "POST", WORKSPACES, b'{"name": "Mine"}', Authorization=self._bearer, Content_Type="application/json"
        )
        show_reply(reply, "WWW-Authenticate")
        expect_status(reply, 403)
        expect_field(reply, "WWW-Authenticate", f'Bearer realm="{self._stage.policy.name}", error="insufficient_scope"')

    async def _pull_until_limit(self) -> None:
        show_command(f"while curl -fsSD- -o export.json {BEARER} $EXPORT; do :; done")
        for _ in range(MOST_PULLS):
            reply = await self._ask("GET", EXPORT, Authorization=self._bearer)
            if reply.status != 200:
                break
            show_line(f"200 OK, RateLimit: {reply.field('RateLimit')}")
        else:
            raise Unexpected(f"no limit in {MOST_PULLS} pulls")
        show_reply(reply, "Retry-After", "RateLimit-Policy", "RateLimit")
        expect_status(reply, 429)
        if not reply.field("Retry-After").isdecimal():
            raise Unexpected(f"Retry-After is {reply.field('Retry-After')!r}, not a number of seconds")

    async def _revoke(self) -> None:
        identity = token_id(self.record.digest)
        if self._stage.has_redis:
            show_command(f"gateway token revoke {identity} --redis {self._stage.redis_url}")
        await self._stage.revoke(self.record)
        show_command(f"curl -i {BEARER} $EXPORT")
        reply = await self._ask("GET", EXPORT, Authorization=self._bearer)
        show_reply(reply, "WWW-Authenticate")
        expect_status(reply, 401)
        expect_field(reply, "WWW-Authenticate", f'Bearer realm="{self._stage.policy.name}", error="invalid_token"')

    @property
    def _bearer(self) -> str:
        return f"Bearer {self.token}"

    async def _ask(self, method: str, path: str, content: bytes | None = None, **fields: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return await asyncio.to_thread(client.ask, method, self._stage.gateway_url + path, named, content)


def mint_command(stage: Stage, name: str) -> tuple[str, ...]:
    """How such a token is minted from another terminal, where the store is a Redis."""
    command = f'gateway token create --policy {stage.policy.name} --owner {OWNER} --name "{name}" --scope read \\'
    return command, f"--policies {stage.policies} --redis {stage.redis_url}"


def expect_status(reply: Reply, status: int) -> None:
    """Unexpected where the answer has another status."""
    if reply.status != status:
        raise Unexpected(f"the status is {reply.status}, not {status}")


def expect_field(reply: Reply, name: str, beginning: str) -> None:
    """Unexpected where the field is absent or begins otherwise."""
    if not reply.field(name).startswith(beginning):
        raise Unexpected(f"{name} is {reply.field(name)!r}, not {beginning!r}")
