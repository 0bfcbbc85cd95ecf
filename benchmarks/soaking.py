"""The crowd that soak.py lets loose: tokens that ask, changes of them meanwhile, and what each may be answered.

Rule: what is expected of a token is known only while nothing changes it. A request that was sent before a change was
complete may be answered either way, and is not checked.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httptools

from benchmarks.backend import LARGE_TARGET
from benchmarks.clients import AUTHORIZED, CLIENTS, TOKEN, build_head
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.adapters.redis.exports import RedisExports
from gateway.app import open_policies
from gateway.core.cache.invalidation import Purge
from gateway.core.errors import ChangeRefused
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.overrides import OverrideRequest
from gateway.core.tokens.owners import OwnerChange, OwnerStatus
from gateway.management.building import build_management
from gateway.management.purging import purge
from gateway.settings import Settings

ACTOR = Actor("soak", "operator")
TOKENS, OWNERS = 100, 20
"""Few enough that a worker remembers the requests of all of them: what it forgets is not compared."""
TARGETS = ("/export", "/export?page=2", LARGE_TARGET, "/live")
WEIGHTS = (10, 5, 2, 8)
CONNECTIONS = 32
REQUESTS_A_CHANGE = 100
CHANGES_A_PURGE, CHANGES_A_RELOAD = 50, 200
"""Both make all that was learnt useless: with more of them, little would be recognised."""
BOUNDED_AT_ONCE = 10
"""Tokens that are disabled, and tokens that lack a scope."""
BLOCKED_AT_ONCE = 2
"""Owners."""
REVOKED_AT_ONCE = 10
"""Revoked tokens that go on asking; others take the place of those that were revoked before."""


class Owner:
    """An owner. `version` grows before and after each change."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = 0
        self.is_blocked = False


class Token:
    """A token and its state, as Redis has it. `version` grows before and after each change."""

    def __init__(self, text: str, identity: str, owner: Owner, plan: str) -> None:
        self.text = text
        self.identity = identity
        self.owner = owner
        self.plan = plan
        self.own_version = 0
        self.is_revoked = False
        self.is_active = True
        self.may_read = True
        self.heads: dict[int, bytes] = {}

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Mark the time of a change."""
        self.own_version += 1
        try:
            yield
        finally:
            self.own_version += 1

    @property
    def version(self) -> tuple[int, int]:
        """What a request has to find unchanged at its end: odd while a change is under way."""
        return (self.own_version, self.owner.version)

    def expected(self) -> set[int]:
        """Return the statuses that a request may be answered with."""
        if self.is_revoked or not self.is_active:
            return {401}
        if self.owner.is_blocked or not self.may_read:
            return {403}
        return {200, 304} if self.plan == "wide" else {200, 304, 429}


class Changes:
    """All tokens, and the changes that are made to them."""

    def __init__(self, settings: Settings, policy_file: Path, seed: int) -> None:
        policies = open_policies(settings)
        self._connection = RedisConnection(open_client(settings.redis_url, 5), 5)
        self._management = build_management(self._connection, policies, settings.token_pepper)
        self._exports = RedisExports(self._connection, 0)
        self._file, self._policy = policy_file, policy_file.read_text()
        self._draw = random.Random(seed)
        self._reloads = 0
        self.made: Counter[str] = Counter()
        self.owners = [Owner(f"owner-{number}") for number in range(OWNERS)]
        self.tokens: list[Token] = []
        self._revoked: list[Token] = []

    @classmethod
    async def open(cls, settings: Settings, policy_file: Path, seed: int) -> "Changes":
        """Return changes of new tokens."""
        changes = cls(settings, policy_file, seed)
        for owner in changes.owners:
            await changes._set_status(owner, OwnerStatus.ACTIVE)
        for _ in range(TOKENS):
            changes.tokens.append(await changes._mint())
        return changes

    async def close(self) -> None:
        """Close the connection to Redis."""
        await self._connection.close()

    async def change(self) -> None:
        """Change something, and return when Redis has it."""
        actions: tuple[Callable[[], Awaitable[None]], ...] = (
            self._revoke,
            self._toggle,
            self._toggle,
            self._change_scopes,
            self._change_scopes,
            self._rename,
            self._override,
            self._block,
        )
        number = sum(self.made.values()) + 1
        action = self._draw.choice(actions)
        if number % CHANGES_A_PURGE == 0:
            action = self._purge
        if number % CHANGES_A_RELOAD == 0:
            action = self._reload
        self.made[action.__name__.strip("_")] += 1
        try:
            await action()
        except ChangeRefused:
            self.made["refused"] += 1  # a token of a blocked owner gets no scopes, say

    async def _mint(self) -> Token:
        owner, plan = self._open_owner(), self._draw.choice(("wide", "wide", "wide", "tight"))
        request = TokenRequest(name="soak", project="bench", owner=owner.name, plan=plan)
        made = await self._management.create_token(ACTOR, "bench", request)
        return Token(made.text, made.view.record.identity, owner, plan)

    def _any(self) -> Token:
        return self._draw.choice([token for token in self.tokens if not token.is_revoked])

    def _next(self, is_bounded: Callable[[Token], bool]) -> Token:
        """Return a token to bound or, if so many are bounded already, one to free: most are to be answered."""
        bounded = [token for token in self.tokens if is_bounded(token) and not token.is_revoked]
        return self._draw.choice(bounded) if len(bounded) >= BOUNDED_AT_ONCE else self._any()

    def _open_owner(self) -> Owner:
        return self._draw.choice([owner for owner in self.owners if not owner.is_blocked])

    async def _revoke(self) -> None:
        token = self._any()
        with token.changing():
            await self._management.revoke_token(ACTOR, token.identity)
            token.is_revoked = True
        self._revoked.append(token)
        if len(self._revoked) > REVOKED_AT_ONCE:
            oldest = self._revoked.pop(0)
            self.tokens[self.tokens.index(oldest)] = await self._mint()

    async def _update(self, token: Token, change: TokenChange, then: Callable[[], None]) -> None:
        with token.changing():
            await self._management.update_token(ACTOR, token.identity, change)
            then()

    async def _toggle(self) -> None:
        token = self._next(lambda one: not one.is_active)
        is_active = not token.is_active
        await self._update(token, TokenChange(is_active=is_active), lambda: setattr(token, "is_active", is_active))

    async def _change_scopes(self) -> None:
        token = self._next(lambda one: not one.may_read)
        may_read = not token.may_read
        scopes = ("read", "write") if may_read else ("write",)
        await self._update(token, TokenChange(scopes=scopes), lambda: setattr(token, "may_read", may_read))

    async def _rename(self) -> None:
        await self._update(self._any(), TokenChange(name=f"soak {self._draw.randrange(1000)}"), lambda: None)

    async def _override(self) -> None:
        token, until = self._any(), await self._now() + 5
        limit = str(self._draw.randrange(10**8, 10**9) if token.plan == "wide" else 30)
        request = OverrideRequest(limit=limit, burst=None, until=until, reason="soak", author="soak")
        with token.changing():
            await self._management.override_quota(ACTOR, token.identity, "minute", request)

    async def _now(self) -> int:
        seconds, _ = await self._connection.run(lambda client: client.time())
        return int(seconds)

    async def _block(self) -> None:
        blocked = [owner for owner in self.owners if owner.is_blocked]
        owner = self._draw.choice(blocked if len(blocked) >= BLOCKED_AT_ONCE else self.owners)
        await self._set_status(owner, OwnerStatus.ACTIVE if owner.is_blocked else OwnerStatus.BLOCKED)

    async def _set_status(self, owner: Owner, status: OwnerStatus) -> None:
        owner.version += 1
        change = OwnerChange(status=status, permissions={"bench": ("read", "write")})
        await self._management.change_owner(ACTOR, "bench", owner.name, change)
        owner.is_blocked = status is OwnerStatus.BLOCKED
        owner.version += 1

    async def _purge(self) -> None:
        await purge(self._management, self._exports, ACTOR, "bench", Purge(project="bench"))

    async def _reload(self) -> None:
        """Change the policy file, which the gateway watches."""
        self._reloads += 1
        self._file.write_text(f"{self._policy}# {self._reloads}\n")


class Crowd:
    """Who asks for what. With `kinds`, so many different requests, some of them often and most of them seldom."""

    def __init__(self, changes: Changes, kinds: int, seed: int) -> None:
        self._changes = changes
        self._draw = random.Random(seed)
        heads = [build_head(target, client=client) for target in TARGETS for client in CLIENTS]
        self._weights = [weight for weight in WEIGHTS for _ in CLIENTS]
        self._heads = [head.partition(TOKEN) for head in heads]
        self._jobs = [
            build_head("/export", (*AUTHORIZED, ("X-CI-Job", str(number)))).partition(TOKEN)
            for number in range(kinds // TOKENS)
        ]

    def draw(self) -> tuple[Token, bytes]:
        """Return a token, and the bytes of its next request."""
        draw, tokens = self._draw, self._changes.tokens
        if self._jobs:
            # The cube of an even draw: a tenth of the requests have two thirds of the kinds.
            number = int(len(self._jobs) * len(tokens) * draw.random() ** 3)
            token, (before, _, after) = tokens[number % len(tokens)], self._jobs[number // len(tokens)]
            return token, f"{before}{token.text}{after}".encode()
        token = tokens[draw.randrange(len(tokens))]
        (kind,) = draw.choices(range(len(self._heads)), self._weights)
        made = token.heads.get(kind)
        if made is None:
            before, _, after = self._heads[kind]
            made = token.heads[kind] = f"{before}{token.text}{after}".encode()
        return token, made


class Load:
    """The connections that ask, one request after the other on each, and the checks of the answers."""

    def __init__(self, crowd: Crowd, changes: Changes, port: int) -> None:
        self.changes = changes
        self.statuses: Counter[int] = Counter()
        self.answered = self.checked = 0
        self.wrong: list[str] = []
        """Answers that the state of their token does not allow."""
        self.failed: list[str] = []
        """What ends the load before its time."""
        self.is_over = False
        self._crowd = crowd
        self._port = port
        self._transports: list[asyncio.Transport] = []
        self._may_change = asyncio.Event()
        self._changing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the connections; each asks at once."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            transport, _ = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
            self._transports.append(transport)
        self._changing = asyncio.create_task(self._change())

    async def stop(self) -> None:
        """Let no request follow those that are under way, and close the connections."""
        self.is_over = True
        if self._changing is not None:
            self._changing.cancel()
            await asyncio.wait([self._changing])
            if not self._changing.cancelled() and (error := self._changing.exception()):
                raise error
        await asyncio.sleep(1)
        for transport in self._transports:
            transport.close()

    async def _change(self) -> None:
        while True:
            await self._may_change.wait()
            self._may_change.clear()
            await self.changes.change()

    def draw(self) -> tuple[Token, bytes]:
        """See Crowd.draw."""
        return self._crowd.draw()

    def take(self, token: Token, version: tuple[int, int], status: int) -> None:
        """Take in an answer to a request that was sent when its token had this version."""
        self.answered += 1
        self.statuses[status] += 1
        if self.answered % REQUESTS_A_CHANGE == 0:
            self._may_change.set()
        if version != token.version or version[0] % 2 or version[1] % 2:
            return
        self.checked += 1
        if status not in token.expected():
            self.wrong.append(f"token {token.identity} was answered {status}, allowed: {token.expected()}")

    def lose(self) -> None:
        """Take in that the gateway has closed a connection."""
        if not self.is_over:
            self.failed.append("the gateway closed a connection")


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._token: Token
        self._version = (0, 0)
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._is_answered and not self._load.is_over:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lose()

    def on_message_complete(self) -> None:
        self._load.take(self._token, self._version, self._parser.get_status_code())
        self._is_answered = True

    def _ask(self) -> None:
        self._parser, self._is_answered = httptools.HttpResponseParser(self), False
        self._token, request = self._load.draw()
        self._version = self._token.version
        self._transport.write(request)
