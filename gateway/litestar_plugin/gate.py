"""The middleware before guarded handlers: it decides if a request may reach one, and completes the answer.

Rule 1: a handler with a guard needs a token, whatever its path; a rule of the policy needs what it says, whatever
handles its path. The gateway ignores requests with neither.
Rule 2: paths are read as the app's router reads them. A guarded path that could be read differently is refused.
Rule 3: a handler runs in the request's own ASGI call (calls.py), behind all middleware, once. Only an answer that may
be stored, which is then made for others too, is collected first (handlers.py).
"""

import functools
import logging
import re
from collections.abc import Sequence
from functools import partial
from typing import Protocol, cast
from urllib.parse import unquote

import msgspec
from litestar.enums import ScopeType
from litestar.exceptions import LitestarException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Empty, HTTPScope, Receive, Scope, Send, WebSocketScope
from litestar.utils.scope.state import ScopeState

from gateway.adapters.ports import PolicySource
from gateway.core.admission.decision import AdmissionFacts, Authorized, Refused, effective_scopes, scope_grantors
from gateway.core.admission.outcomes import build_refused
from gateway.core.cache.keys import is_cacheable
from gateway.core.errors import ClientGone, StreamRevoked, UpstreamError
from gateway.core.http.messages import Ended, Field, RequestHead, Response, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import parse_path
from gateway.core.policies.guarded import GuardedRules
from gateway.core.policies.model import Rule
from gateway.core.tokens.credentials import find_credential
from gateway.core.tokens.records import TokenRecord
from gateway.core.upstream.client_fields import MISLEADING, ByName, fold, fold_all
from gateway.core.upstream.forwarding import Principal
from gateway.litestar_plugin.calls import OwnCall
from gateway.litestar_plugin.guards import STATE_KEY, Admitted, Needs, Requires, admission_of, needs_of
from gateway.litestar_plugin.handlers import CALL, VIA, Call, identify
from gateway.litestar_plugin.memory import Memory, select
from gateway.litestar_plugin.refusals import build_exception
from gateway.litestar_plugin.websockets import OpenSocket, deny, take_token
from gateway.pipeline.exchange import Exchange, Reading
from gateway.server.asgi import read_scope, reply
from gateway.server.requests import RequestAcceptor

logger = logging.getLogger(__name__)


MAXIMUM_PRINCIPALS = 4096
"""Principals kept: about 2 MB."""


class _Kept(dict[frozenset[bytes], ByName[bool]]):
    """For each set of credential fields of a policy: the fields that handlers do not get, misleading ones included."""

    def __missing__(self, credential_fields: frozenset[bytes]) -> ByName[bool]:
        names = fold_all(credential_fields | MISLEADING)
        kept = self[credential_fields] = ByName(lambda name: fold(name) in names)
        return kept


_KEPT = _Kept()


class GateOptions(msgspec.Struct, frozen=True):
    """The options of an app's gate; see GatewayPlugin."""

    policy: str
    """The policy whose quotas apply to guarded handlers without a matching rule."""
    raises: bool = True
    """Whether refusals are exceptions of Litestar."""
    exclude: tuple[str, ...] = ()
    """Patterns of the paths that the gate ignores."""
    exclude_opt_key: str = ""
    """The key in the `opt` of handlers that the gate ignores."""
    remembers: bool = True
    """Whether it is remembered how requests were read (memory.py)."""
    verifies: bool = False
    """Whether what is remembered is compared with the request as it is read anew."""


class _Read(msgspec.Struct, frozen=True):
    """One request that needs a token, as it was read."""

    request: RequestHead
    rule: Rule
    reading: Reading | Refused
    passed: list[Field]
    """The fields that the handler gets, but for the request's id."""
    is_for_others: bool
    """Whether the exchange answers it: the answer may be stored, or the rule manages tokens."""
    key: bytes = b""
    """The key under which it is to be remembered once it is admitted; empty if it is not to be."""


class GateDependencies(Protocol):
    """The parts of the gateway that the gate needs."""

    @property
    def exchange(self) -> Exchange:
        """The exchange of the current event loop."""
        ...

    @property
    def policies(self) -> PolicySource:
        """The source of the current policies."""
        ...

    @property
    def override(self) -> Principal | None:
        """The principal of all requests, whatever they present: for tests."""
        ...


class Gate:
    """The gate; `wrap` is the middleware."""

    def __init__(self, dependencies: GateDependencies, options: GateOptions, acceptor: RequestAcceptor) -> None:
        self._dependencies = dependencies
        self._options = options
        self._acceptor = acceptor
        self._rules = GuardedRules(dependencies.policies.current, options.policy)
        self._memory = Memory() if options.remembers else None
        self._principals: dict[tuple[str, ...], Principal] = {}
        """By what they are made of."""
        self._needs: dict[BaseRouteHandler, Needs | None] = {}
        self._excluded = re.compile("|".join(options.exclude)) if options.exclude else None

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the app behind the gate."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            admitted = admission_of(scope)
            if admitted is not None and admitted.by is self:  # the app has the middleware twice
                await app(scope, receive, send)
            elif self._is_excluded(scope):
                scope["state"][STATE_KEY] = Admitted(self, is_excluded=True)
                await app(scope, receive, send)
            elif scope["type"] == ScopeType.WEBSOCKET:
                await self._connect(app, scope, receive, send)
            else:
                await self._answer(app, scope, receive, send)

        return gated

    async def _answer(self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
        read = self._read(scope)
        if isinstance(read, RequestHead):
            _set_fields(scope, list(read.fields))  # identity fields of the client reach no handler
            await app(scope, receive, send)
        elif read.is_for_others:
            await self._answer_for_others(app, scope, receive, send, read)
        else:
            await self._serve(app, scope, receive, send, read)

    def _read(self, scope: HTTPScope) -> "_Read | RequestHead":
        """Return the request as it is read, from memory if it was seen before; only its head if it needs no token."""
        if self._memory is None or self._dependencies.override is not None:
            return self._read_anew(scope, b"")
        key = self._memory.key_of(scope)
        known = self._memory.recall(key, scope, self._dependencies.policies.current)
        if known is None:
            return self._read_anew(scope, key)
        request = self._acceptor.accept_again(known.head, select(scope["headers"], known.accepted))
        reading = self._dependencies.exchange.read_again(request, known.reading)
        read = _Read(
            request, known.reading.question.rule, reading, select(scope["headers"], known.passed), known.is_for_others
        )
        if self._options.verifies:
            self._compare(read, self._read_anew(scope, b""))
        return read

    def _read_anew(self, scope: HTTPScope, key: bytes) -> "_Read | RequestHead":
        request = self._accept(scope)
        rule = self._find_rule(scope, request)
        if rule is None or self._can_do_without(scope, request, rule):
            return request
        is_for_others = rule.manage is not None or _is_made_for_others(scope, request, rule)
        reading = self._dependencies.exchange.read_request(request, rule)
        return _Read(request, rule, reading, _find_passed(request, rule), is_for_others, key)

    def _compare(self, read: "_Read", anew: "_Read | RequestHead") -> None:
        """Log how a request that was remembered would be read differently."""
        if isinstance(anew, _Read):
            head = msgspec.structs.replace(anew.request, id=read.request.id, received_at=read.request.received_at)
            anew = msgspec.structs.replace(anew, request=head, key=b"")
        if anew != read:
            logger.error("request %s: it is read differently from how it is remembered", read.request.id)

    def _remember(self, read: "_Read", scope: HTTPScope) -> None:
        """Remember how an admitted request was read; its scope is as it arrived."""
        if self._memory is not None and isinstance(read.reading, Reading):
            self._memory.remember(
                read.key, scope, read.request, read.passed, read.reading, is_for_others=read.is_for_others
            )

    async def _serve(self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send, read: "_Read") -> None:
        """Let the handler answer in this call."""
        call, request = OwnCall(send), read.request
        find_again = partial(self._find_rule_again, scope, request)
        permission = await self._dependencies.exchange.permit(request, read.reading, find_again, call.abort)
        if isinstance(permission, Response):
            await self._refuse(permission, send)
            return
        if read.key:
            self._remember(read, scope)
        self._admit(scope, request, read.passed, permission.admission)
        try:
            await call.serve(app, scope, receive, permission)
        except StreamRevoked as error:
            # Returning without an end makes the server close the connection, so the content is not taken for whole.
            logger.warning("request %s: the response was aborted: %s", request.id, error)

    async def _answer_for_others(
        self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send, read: "_Read"
    ) -> None:
        """Send an answer that is stored, or is made now and stored; wait for the handler's work after it."""
        request, rule = read.request, read.rule
        call = Call(self, app, scope, request.path, rule.scopes)
        token = CALL.set(call)
        try:
            find_again = partial(self._find_rule_again, scope, request)
            response = await self._dependencies.exchange.handle(request, None, read.reading, find_again)
            if response.refused is not None:
                await self._refuse(response, send)
                return
            if read.key:
                self._remember(read, scope)
            # Others may get the answer too, so `reply` watches whether the client leaves, not the handler.
            await reply(_without_intermediary(response), send, receive)
        except ClientGone:
            return
        except (StreamRevoked, UpstreamError) as error:
            logger.warning("request %s: the response was aborted: %s", request.id, error)
        finally:
            CALL.reset(token)
        await call.finish()

    async def _connect(self, app: ASGIApp, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        """Authorize a WebSocket when it is opened, and let the handler have it, in flight, as long as it may be."""
        carried = take_token(scope)
        request = self._accept(scope)
        rule = self._find_rule(scope, request)
        if rule is not None:
            request = carried.present(request, rule.policy)
        if rule is None or self._can_do_without(scope, request, rule):
            _set_fields(scope, list(request.fields))
            await app(scope, receive, send)
            return
        socket, find_rule = OpenSocket(receive, send, carried.answer), partial(self._find_rule_again, scope, request)
        exchange = self._dependencies.exchange
        permission = await exchange.permit(request, exchange.read_request(request, rule), find_rule, socket.abort)
        if isinstance(permission, Response):
            await deny(_without_intermediary(permission), scope, send)
            return
        try:
            permission.follow()
            await permission.begin(ResponseHead(101, []))
            self._admit(scope, request, _find_passed(request, rule), permission.admission)
            await socket.serve(app, scope)
            permission.is_complete = True
        except StreamRevoked as error:
            permission.close(error)
            logger.warning("request %s: the WebSocket was closed: %s", request.id, error)
        except BaseException as error:
            permission.close(error)
            raise
        finally:
            permission.close()

    async def _refuse(self, response: Response, send: Send) -> None:
        if not self._options.raises:
            await reply(_without_intermediary(response), send)
            return
        _note_refused(response)
        raise build_exception(_without_intermediary(response))

    def _accept(self, scope: HTTPScope | WebSocketScope) -> RequestHead:
        """Return the head of a request, its path as the router reads it; at fault if that could be read differently."""
        request = self._acceptor.accept(read_scope(scope))
        path = inner_path(request.path, scope.get("root_path", ""))
        if path is None or not _is_what_was_routed(scope, path):
            fault = request.fault or Reason.MALFORMED_TARGET
            return msgspec.structs.replace(request, fault=fault)
        return request if path == request.path else msgspec.structs.replace(request, path=path)

    def _is_excluded(self, scope: Scope) -> bool:
        key, excluded = self._options.exclude_opt_key, self._excluded
        is_opted_out = bool(key and scope["route_handler"].opt.get(key))
        return is_opted_out or (excluded is not None and excluded.search(scope["path"]) is not None)

    def take_guards(self, handler: BaseRouteHandler) -> Needs | None:
        """Return what the guards of a handler need. The gate takes their place if it alone decides, and is before it.

        Litestar copies a handler for each guard that it calls, which costs more than a guard does. A guard that another
        authentication can satisfy stays, and so do all if the gate is not among the middleware of the handler.
        """
        if handler not in self._needs:
            self._needs[handler] = needs_of(handler)
        needs = self._needs[handler]
        decides_alone = needs is not None and not (needs.is_optional or needs.or_authenticated)
        if decides_alone and self.wrap in handler.resolve_middleware():
            guards = handler.resolve_guards()
            guards[:] = [guard for guard in guards if not isinstance(guard, Requires)]
        return needs

    def _needs_of(self, scope: Scope) -> Needs | None:
        handler = scope["route_handler"]
        if handler not in self._needs:
            self._needs[handler] = needs_of(handler)
        return self._needs[handler]

    def _find_rule(self, scope: Scope, request: RequestHead) -> Rule | None:
        """Return the rule of a request; at fault, any rule for its handler, or for its path as it was routed."""
        policies = self._dependencies.policies.current
        if self._rules.policies is not policies:
            self._rules = GuardedRules(policies, self._options.policy)
        needs = self._needs_of(scope)
        scopes = None if needs is None else needs.scopes
        if request.fault is None or needs is not None:
            segments = () if request.fault else parse_path(request.path) or ()
            return self._rules.find(request.host, request.method, segments, scope["path_template"], scopes)
        readings = (tuple(filter(None, path.split("/"))) for path in (scope["path"], unquote(request.path)))
        found = (policies.match(request.host, request.method, segments) for segments in readings)
        return next((rule for rule in found if rule is not None), None)

    def _find_rule_again(self, scope: Scope, request: RequestHead) -> Rule | None:
        """Return the rule of what is open already, or None if the app's policy is gone."""
        try:
            return self._find_rule(scope, request)
        except LookupError:
            return None

    def _can_do_without(self, scope: Scope, request: RequestHead, rule: Rule) -> bool:
        """Return whether the handler answers without a token and none is presented, or a test sets the principal."""
        needs, override = self._needs_of(scope), self._dependencies.override
        if override is not None:
            lacks = not set(rule.scopes) <= override.scopes
            refused = Refused(Reason.INSUFFICIENT_SCOPE, rule)
            self._identify(scope, Admitted(self, rule.scopes, override))
            if lacks:
                raise self._build_exception(request, refused)
            return True
        if needs is None or request.fault is not None or not (needs.is_optional or needs.or_authenticated):
            return False
        written = self._dependencies.policies.current.match(
            request.host, request.method, parse_path(request.path) or ()
        )
        if written is not None and not written.is_public:
            return False
        found = find_credential(request.fields, rule.policy)
        may_be_others = needs.or_authenticated and found is Reason.MALFORMED_CREDENTIALS
        if not (found is Reason.MISSING_CREDENTIALS or may_be_others):
            return False
        refusal = partial(self._build_exception, request, Refused(Reason(found), rule))
        scope["state"][STATE_KEY] = Admitted(self, refusal=refusal)
        return True

    def _build_exception(self, request: RequestHead, refused: Refused) -> LitestarException:
        response = self._dependencies.exchange.finish(request, refused, build_refused(request, refused))
        _note_refused(response)
        return build_exception(_without_intermediary(response))

    def _admit(
        self,
        scope: HTTPScope | WebSocketScope,
        request: RequestHead,
        passed: Sequence[Field],
        admission: Authorized,
    ) -> None:
        """Give the handler the principal, and keep the credential from it."""
        rule, facts = admission.rule, admission.facts
        _set_fields(scope, [*passed, (b"x-request-id", request.id.encode())])
        principal = self._find_principal(facts.record, rule, facts) if facts.record else None
        self._identify(scope, Admitted(self, rule.scopes, principal))

    def _find_principal(self, record: TokenRecord, rule: Rule, facts: AdmissionFacts) -> Principal:
        """Return who asks with a token. The same tokens come again and again, so principals are kept."""
        policy, names = rule.policy, (record.digest, record.name, record.project, record.owner)
        granted = [scopes for _, scopes in scope_grantors(record, facts)]
        key = (policy.name, policy.version, record.plan, *names, *granted)
        found = self._principals.get(key)
        if found is None:
            if len(self._principals) >= MAXIMUM_PRINCIPALS:
                self._principals.clear()
            found = self._principals[key] = identify(record, effective_scopes(rule, facts))
        return found

    def _identify(self, scope: Scope, admitted: Admitted) -> None:
        scope["state"][STATE_KEY] = admitted
        if admitted.principal is not None:
            scope["user"], scope["auth"] = admitted.principal, admitted.principal.scopes


@functools.lru_cache(maxsize=1024)
def inner_path(path: str, root_path: str) -> str | None:
    """Return the path below the app's own, without a slash at its end, as Litestar's router reads it, or None.

    The router cuts at the first occurrence of `root_path`, wherever that is, but only one at the beginning is meant: a
    path with two readings gives None.
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
    """Return whether the router has read the same path; for a mounted app, it keeps the part below the mount."""
    read = unquote(path) if "%" in path else path
    if not getattr(scope["route_handler"], "is_mount", False):
        return read == scope["path"]
    return f"{read.rstrip('/')}/".endswith(f"{scope['path'].rstrip('/')}/")


def _is_made_for_others(scope: Scope, request: RequestHead, rule: Rule) -> bool:
    """Return whether the answer may be stored. HEAD is answered from GET's answer, if the handler answers GET too."""
    return is_cacheable(rule, request) and "GET" in getattr(scope["route_handler"], "http_methods", ())


def _without_intermediary(response: Response) -> Response:
    """Return the answer without the fields of an intermediary; the server sets Date."""
    fields = [field for field in response.head.fields if field != VIA and field[0] != b"date"]
    return msgspec.structs.replace(response, head=ResponseHead(response.head.status, fields))


def _note_refused(response: Response) -> None:
    """Record a refusal as such, whatever answer the app makes of it."""
    if response.note_end is not None:
        response.note_end(Ended.COMPLETE, len(cast(bytes, response.content)), "")


def _find_passed(request: RequestHead, rule: Rule) -> list[Field]:
    """Return the fields that a handler gets: no credentials, and no id, because it gets the request's."""
    kept = _KEPT[rule.policy.credential_fields]
    return [field for field in request.fields if not kept[field[0]] and field[0] != b"x-request-id"]


def _set_fields(scope: Scope, fields: list[Field]) -> None:
    """Set the request's fields, even if earlier middleware has read them already."""
    scope["headers"] = fields
    ScopeState.from_scope(scope).headers = Empty
