"""The outermost middleware of an app: whether a request may reach its handler, and what becomes of the answer.

Rule 1: a handler with a guard needs a token, whatever its path; a rule of the policy needs what it says, whatever
handles its path. What has neither is not the gateway's business.
Rule 2: paths are read as the app's router reads them. One that could be read otherwise is refused.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import cast
from urllib.parse import quote, unquote

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send, WebSocketScope

from gateway.adapters.protocols import PolicySource
from gateway.core.addresses import TrustedProxies
from gateway.core.caching.keys import is_cacheable
from gateway.core.decision import effective_scopes
from gateway.core.errors import ClientGone, StreamRevoked, UpstreamError
from gateway.core.forwarding import build_request_fields
from gateway.core.messages import RequestHead, Response, ResponseHead
from gateway.core.policies.guarding import GuardedRules
from gateway.core.policies.rules import Rule
from gateway.core.principals import parse_principal
from gateway.core.reasons import Reason
from gateway.core.targets import parse_path
from gateway.exchange import Exchange
from gateway.web.asgi import read_scope, reply
from gateway.web.plugin.guards import STATE_KEY, Admitted, admission_of, scopes_needed
from gateway.web.plugin.handlers import CALL, VIA, Call, without_intermediary
from gateway.web.plugin.sockets import OpenSocket, deny
from gateway.web.receiving import accept

logger = logging.getLogger(__name__)


class Gate:
    """The middleware, as `wrap`; `policy` is whose quotas guarded handlers have that no rule matches."""

    def __init__(
        self,
        exchange: Exchange,
        policies: PolicySource,
        policy: str,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: TrustedProxies,
    ) -> None:
        self._exchange = exchange
        self._policies = policies
        self._policy = policy
        self._clock = clock
        self._new_id = new_id
        self._trusted = trusted
        self._rules = GuardedRules(policies.current, policy)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The app behind the gate."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            admitted = admission_of(scope)
            if admitted is not None and admitted.by is self:
                await app(scope, receive, send)
            elif scope["type"] == ScopeType.WEBSOCKET:
                await self._connect(app, scope, receive, send)
            else:
                await self._answer(app, scope, receive, send)

        return gated

    async def _answer(self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
        request = self._accept(scope)
        if isinstance(request, Response):
            await reply(request, send)
            return
        rule = self._find_rule(scope, request)
        if rule is None:
            scope["headers"] = request.fields  # what a client says of itself reaches no handler
            await app(scope, receive, send)
            return
        router = Litestar.from_scope(scope).asgi_router
        is_shared = is_cacheable(rule, request)  # HEAD too: it is answered by what GET would be
        token = CALL.set(Call(self, router, scope, receive, rule.scopes, is_shared))
        try:
            response = await self._exchange.answer(request, None, rule, partial(self._find_rule_again, scope, request))
            # A handler whose answer others may get as well is not told by the server when its client leaves.
            await reply(_without_intermediary(response), send, receive if is_shared else None)
        except ClientGone:
            return
        except (StreamRevoked, UpstreamError) as error:
            # Returning without an end makes the server close the connection: nobody takes the content for whole.
            logger.warning("request %s: the content broke off: %s", request.id, error)
        finally:
            CALL.reset(token)

    async def _connect(self, app: ASGIApp, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        """A WebSocket: authorized when it is opened; the handler's, and in flight, for as long as it may be."""
        request = self._accept(scope)
        if isinstance(request, Response):
            await deny(request, scope, send)
            return
        rule = self._find_rule(scope, request)
        scope["headers"] = request.fields
        if rule is None:
            await app(scope, receive, send)
            return
        socket, find_rule = OpenSocket(receive, send), partial(self._find_rule_again, scope, request)
        try:
            async with self._exchange.permit(request, rule, find_rule, socket.end) as admission:
                if isinstance(admission, Response):
                    await deny(_without_intermediary(admission), scope, send)
                    return
                record = admission.record
                scopes = effective_scopes(rule, admission.facts) if record else ""
                fields = build_request_fields(request, rule.policy, record, scopes, frozenset())
                scope["headers"] = without_intermediary(fields)
                scope["state"][STATE_KEY] = Admitted(self, rule.scopes, parse_principal(fields))
                await socket.serve(app, scope)
        except StreamRevoked as error:
            logger.warning("request %s: the WebSocket was closed: %s", request.id, error)

    def _accept(self, scope: HTTPScope | WebSocketScope) -> RequestHead | Response:
        """The head of a request, its path as the router reads it; or the refusal of one that is malformed."""
        raw_path = (scope.get("raw_path") or quote(scope["path"]).encode()).partition(b"?")[0]
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        seen = cast(HTTPScope, {"method": "GET", **scope, "raw_path": raw_path, "scheme": scheme})
        request = accept(read_scope(seen), self._clock(), self._new_id(), self._trusted, self._exchange.masking)
        if request.fault is not None:
            return self._exchange.refuse(request, request.fault)
        path = inner_path(request.path, scope.get("root_path", ""))
        if path is None or not _is_what_was_routed(scope, path):
            return self._exchange.refuse(request, Reason.MALFORMED_TARGET)
        return msgspec.structs.replace(request, path=path)

    def _find_rule(self, scope: Scope, request: RequestHead) -> Rule | None:
        if self._rules.policies is not self._policies.current:
            self._rules = GuardedRules(self._policies.current, self._policy)
        segments, needed = parse_path(request.path) or (), scopes_needed(scope["route_handler"])
        return self._rules.find(request.host, request.method, segments, scope["path_template"], needed)

    def _find_rule_again(self, scope: Scope, request: RequestHead) -> Rule | None:
        """The same for what is open already; None where the app's policy is gone."""
        try:
            return self._find_rule(scope, request)
        except LookupError:
            return None


def inner_path(path: str, root_path: str) -> str | None:
    """The path below the app's own, without a slash at its end, as Litestar's router reads it; None for two readings.

    The router cuts at the first occurrence of `root_path`, wherever that is: only one at the beginning is meant.
    """
    segments = parse_path(path)
    if segments is None:
        return None
    read = "/".join(("", *segments))
    if root_path and f"{read}/".startswith(f"{root_path.rstrip('/')}/") and read.startswith(root_path):
        path = "/" + "/".join(path.split("/")[root_path.rstrip("/").count("/") + 1 :])
    elif root_path and root_path in read:
        return None
    return path.removesuffix("/") or "/"


def _is_what_was_routed(scope: Scope, path: str) -> bool:
    """Whether the router has read the same; of a mounted app it keeps what is below the mount."""
    read = unquote(path)
    if not getattr(scope["route_handler"], "is_mount", False):
        return read == scope["path"]
    return f"{read.rstrip('/')}/".endswith(f"{scope['path'].rstrip('/')}/")


def _without_intermediary(response: Response) -> Response:
    """The answer without what only another server in between would say; Date is the server's own."""
    fields = [field for field in response.head.fields if field != VIA and field[0] != b"date"]
    return msgspec.structs.replace(response, head=ResponseHead(response.head.status, fields))
