"""One request, from its head to its response. Start reading here.

`authorize` is the first half: it serves the proxy, forward-auth and the plugin alike. `check` answers with it another
proxy that asks; `handle` is the whole, and what cache and backend have to do with it is in cache.py. They order
what core decides and adapters do; none of them knows HTTP servers or Redis.
"""

from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Protocol, TypeAlias

import msgspec

from gateway.adapters.admin_ports import UsageCounter
from gateway.adapters.ports import (
    AccessLog,
    Admissions,
    InFlight,
    PolicySource,
    QuotaRefunds,
    Streams,
)
from gateway.adapters.streams import PIECE_BYTES, Pieces
from gateway.core.admission.decision import Allow, Asked, Deny, Facts, decide
from gateway.core.admission.outcomes import (
    Authorized,
    Refused,
    add_token_state,
    build_access_record,
    build_refused,
    refuse,
    refuse_options,
    refuse_unmatched,
    settle,
)
from gateway.core.cache.keys import export_key
from gateway.core.errors import (
    BrokenDocument,
    ClientGone,
    MemoryFull,
    StoreUnavailable,
    StreamRevoked,
    UpstreamBroken,
    UpstreamBusy,
    UpstreamDropped,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.core.http.assertions import Issuer, build_assertion
from gateway.core.http.fields import build_http_date
from gateway.core.http.forward_auth import AskingProxy, build_allowed, translate
from gateway.core.http.messages import Ended, RequestHead, Response, ResponseHead, end_of_refused, field_value
from gateway.core.http.problems import PROBLEMS
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import parse_path
from gateway.core.masking import Masking
from gateway.core.policies.model import PolicySet, Rule
from gateway.core.upstream.forwarding import build_last_hop, hops_left
from gateway.core.variants.exchange_heads import build_options, find_variant
from gateway.core.variants.model import InvalidOptions
from gateway.pipeline.authenticator import Authenticator
from gateway.pipeline.cache import ExportCache

STORE_RETRY_SECONDS = 1
"""Retry-After while Redis is away: the probe finds it back within a tenth of this."""
MEMORY_RETRY_SECONDS = 1
"""Retry-After while too much content waits for clients: the next one of them may be done with its own at any time."""
METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
UPSTREAM_REASONS: dict[type[UpstreamError], Reason] = {
    UpstreamUnreachable: Reason.UPSTREAM_UNREACHABLE,
    UpstreamBusy: Reason.UPSTREAM_BUSY,
    UpstreamTimeout: Reason.UPSTREAM_TIMEOUT,
    UpstreamBroken: Reason.UPSTREAM_BROKEN,
    UpstreamDropped: Reason.UPSTREAM_BROKEN,
    BrokenDocument: Reason.BROKEN_DOCUMENT,
}


FindRule: TypeAlias = Callable[[], Rule | None]
"""The rule of a request by the policies of the moment, for a caller that does not go by host, method and path alone."""


class ProductApi(Protocol):
    """Who answers rules with `manage`: management/product_api.py."""

    async def handle(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized
    ) -> Response:
        """The answer to a request that may pass; raises StoreUnavailable."""
        ...


class Exchange:
    """Answers requests with the policies, Redis and backends it is given."""

    def __init__(
        self,
        policies: PolicySource,
        admissions: Admissions,
        export_cache: ExportCache,
        refunds: QuotaRefunds,
        streams: Streams,
        authenticator: Authenticator,
        access_log: AccessLog | None,
        clock: Callable[[], float],
        usage_counter: UsageCounter | None = None,
        issuer: Issuer | None = None,
        product_api: ProductApi | None = None,
    ) -> None:
        self._product_api = product_api
        self._issuer = issuer
        self._policies = policies
        self._admissions = admissions
        self._export_cache = export_cache
        self._refunds = refunds
        self._streams = streams
        self._authenticator = authenticator
        self._access_log = access_log
        self._clock = clock
        self._usage_counter = usage_counter

    @property
    def masking(self) -> Masking:
        """What looks like a token of the policies of the moment."""
        return self._policies.current.masking

    async def authorize(self, request: RequestHead, rule: Rule | None = None) -> Authorized | Refused:
        """Whether the request may pass: one policy set, one rule, one credential, one round trip, one verdict.

        The rule is the one that matches, unless the caller has found it already. What is at fault meets none.
        """
        if request.fault is not None:
            return Refused(request.fault)
        policies = self._policies.current
        segments = parse_path(request.path)
        if segments is None:
            reason = Reason.NO_MATCHING_RULE if asks_server(request) else Reason.MALFORMED_TARGET
            return refuse_unmatched(reason, policies, request.host)
        rule = rule or policies.match(request.host, request.method, segments)
        if rule is None:
            return refuse_unmatched(Reason.NO_MATCHING_RULE, policies, request.host)
        presented = "" if rule.is_public else self._authenticator.authenticate(request, rule)
        if isinstance(presented, Refused):
            return presented
        variant = find_variant(rule, request, segments)
        key, lease = export_key(rule, request, variant), self._refunds.lease_for(rule)
        asked = Asked(rule, presented, key, rule.project_of(segments), request.client, lease)
        facts_to_come = self._admissions.admit(asked)
        try:
            facts = await facts_to_come
        except StoreUnavailable:
            return Refused(Reason.STORE_UNAVAILABLE, rule, retry_after=STORE_RETRY_SECONDS)
        except CancelledError:  # Redis charges it all the same, so what comes of it is recorded
            leave = partial(self._leave_unanswered, request, rule, _end_of(request))
            self._admissions.tell(asked, facts_to_come, leave)
            raise
        verdict = decide(rule, facts)
        if isinstance(verdict, Deny):
            refused = refuse(rule, verdict)
            return refused if facts.exists else self._authenticator.refuse(request, refused)
        if isinstance(variant, InvalidOptions):
            return refuse_options(rule, facts, variant)
        return Authorized(rule, verdict.record, facts, variant)

    async def handle(
        self,
        request: RequestHead,
        content: AsyncIterator[bytes] | None,
        rule: Rule | None = None,
        find_rule: FindRule | None = None,
    ) -> Response:
        """The response to a request whose `content` is None where it has none.

        An answer that takes its time breaks off with StreamRevoked when another request for it would be refused.
        """
        admission = await self.authorize(request, rule)
        if isinstance(admission, Refused):
            own = build_server_options() if asks_server(request) else build_refused(request, admission)
            return self.finish(request, admission, own)
        with self._refunds.in_flight(admission.rule, admission.facts) as in_flight:
            try:
                response = in_flight.until_sent(await self._answer(request, content, admission))
            except (CancelledError, ClientGone) as error:
                ended = Ended.CLIENT_GONE if isinstance(error, ClientGone) else _end_of(request)
                self.leave(request, admission.rule, admission.facts, ended)
                raise
        if isinstance(response.content, bytes) and len(response.content) <= PIECE_BYTES:
            return response  # nearly all
        stream = Pieces(response.content) if isinstance(response.content, bytes) else response.content
        asking = Asking(self._policies, request, find_rule, self._authenticator)
        watched = self._streams.watch(admission.facts, asking, stream)
        return msgspec.structs.replace(response, content=watched)

    async def _answer(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized
    ) -> Response:
        """The response to a request that may pass."""
        own = find_own_answer(request, admission.rule) if request.method == "OPTIONS" else None
        if own is not None:
            return self.finish(request, admission, own)
        try:
            if admission.rule.manage is not None and self._product_api is not None:
                response: Response | Refused = await self._product_api.handle(request, content, admission)
            else:
                response = await self._export_cache.respond(request, content, admission)
        except StoreUnavailable:
            response = Refused(Reason.STORE_UNAVAILABLE, admission.rule, retry_after=STORE_RETRY_SECONDS)
        except MemoryFull:
            response = Refused(Reason.OVERLOADED, admission.rule, admission.facts, MEMORY_RETRY_SECONDS)
        except UpstreamError as error:
            response = self._refuse_failure(admission, error)
        except ClientGone as gone:
            if gone.reason is None:
                raise
            response = Refused(gone.reason, admission.rule, admission.facts)
        if isinstance(response, Refused):
            return self.finish(request, response, build_refused(request, response))
        return self.finish(request, admission, response)

    def _refuse_failure(self, admission: Authorized, error: UpstreamError) -> Refused:
        detail = self.masking.mask(str(error)) if isinstance(error, BrokenDocument) else ""
        return Refused(
            UPSTREAM_REASONS[type(error)],
            admission.rule,
            admission.facts,
            error.retry_after,
            detail=detail,
            upstream_error=error.cause,
        )

    async def check(self, request: RequestHead, proxy: AskingProxy) -> Response:
        """The answer to a proxy that passes the request on itself (forward-auth): 200 without content where it may."""
        admission = await self.authorize(request)
        if isinstance(admission, Refused):
            return translate(proxy, self.finish(request, admission, build_refused(request, admission)))
        with self._refunds.in_flight(admission.rule, admission.facts):  # its end is nothing that we see
            assertion = build_assertion(self._issuer, request, admission, request.target)
            return self.finish(request, admission, build_allowed(proxy, admission, assertion))

    def refuse(
        self, request: RequestHead, reason: Reason, retry_after: int | None = None, lacking: str = ""
    ) -> Response:
        """The answer to a request that met no rule: counted and recorded like any other."""
        refused = Refused(reason, retry_after=retry_after, lacking=lacking)
        return self.finish(request, refused, build_refused(request, refused))

    async def permit(
        self, request: RequestHead, rule: Rule, find_rule: FindRule, end: Callable[[Reason], None]
    ) -> "Permission | Response":
        """The permission to go on, for a caller that answers by itself, or the answer to who may not pass.

        The request is in flight until the permission is closed. From `follow` on, `end` is called, once, if another
        request would be refused.
        """
        admission = await self.authorize(request, rule)
        if isinstance(admission, Refused):
            return self.finish(request, admission, build_refused(request, admission))
        in_flight = self._refunds.in_flight(rule, admission.facts)
        in_flight.__enter__()
        asking = Asking(self._policies, request, find_rule, self._authenticator)
        return Permission(
            self, request, admission, in_flight, partial(self._streams.follow, admission.facts, asking, end)
        )

    async def begin(self, permission: "Permission", head: ResponseHead) -> Response:
        """Settle and count an answer that its caller gives; what is stored of a write's target ends (RFC 9111 4.4)."""
        request, admission = permission.request, permission.admission
        await self._export_cache.invalidate(request, admission.rule.policy, head)
        return self.finish(request, admission, Response(head, b""))

    def finish(self, request: RequestHead, outcome: Authorized | Refused, response: Response) -> Response:
        """Settles what the request cost, counts it, and adds what every answer carries.

        The access record is written when whoever sends the answer notes its end.
        """
        fields = response.head.fields
        outcome = settle(outcome, response.head)
        self._refunds.refund(outcome)
        if self._usage_counter is not None:
            self._usage_counter.count_request(outcome, response.head)
        fields.append((b"x-request-id", request.id.encode()))
        if field_value(fields, b"date") is None:
            fields.append((b"date", build_http_date(int(request.received_at))))
        add_token_state(fields, outcome)
        if self._access_log is None:
            return response
        return Response(
            response.head,
            response.content,
            partial(self._record, request, outcome, response),
            response.upstream_error,
            response.refused,
        )

    def _leave_unanswered(self, request: RequestHead, rule: Rule, ended: Ended, facts: Facts | None) -> None:
        """Takes in an admission whose client has left: what it holds is released."""
        verdict = decide(rule, facts) if facts is not None else None
        if isinstance(verdict, Allow):
            with self._refunds.in_flight(rule, verdict.facts):
                pass
        self.leave(request, rule, verdict.facts if verdict is not None else None, ended)

    def leave(self, request: RequestHead, rule: Rule, facts: Facts | None, ended: Ended) -> None:
        """Counts and records a request that is not answered: nobody is there. It stays charged."""
        reason = Reason.CLIENT_GONE if ended is Ended.CLIENT_GONE else Reason.STOPPED
        outcome, head = Refused(reason, rule, facts), ResponseHead(PROBLEMS[reason].status, [])
        if self._usage_counter is not None:
            self._usage_counter.count_request(outcome, head)
        self._record(request, outcome, Response(head, b""), ended, 0, "")

    def _record(
        self,
        request: RequestHead,
        outcome: Authorized | Refused,
        response: Response,
        ended: Ended,
        sent_bytes: int,
        why: str,
    ) -> None:
        if self._access_log is None:
            return
        self._access_log.append(
            build_access_record(
                request, outcome, response, self._policies.current, ended, sent_bytes, why, self._clock()
            )
        )


class Permission:
    """A request that may pass, and that whoever asked for it answers: see `Exchange.permit`."""

    def __init__(
        self,
        exchange: Exchange,
        request: RequestHead,
        admission: Authorized,
        in_flight: InFlight,
        follow: Callable[[], Callable[[], None]],
    ) -> None:
        self.request = request
        self.admission = admission
        self.sent_bytes = 0
        """Of the answer's content, for its record."""
        self.is_complete = False
        """Whether the answer was given to its end."""
        self._exchange = exchange
        self._in_flight = in_flight
        self._follow: Callable[[], Callable[[], None]] | None = follow
        self._forget: Callable[[], None] | None = None
        self._begun: Response | None = None
        self._is_closed = False

    async def begin(self, head: ResponseHead) -> ResponseHead:
        """Return the head that the client gets: `head`, and what every answer carries."""
        self._begun = await self._exchange.begin(self, head)
        return self._begun.head

    def follow(self) -> None:
        """Watch from now on whether another request would be refused, for what takes its time."""
        if self._follow is not None:
            self._forget, self._follow = self._follow(), None

    def close(self, error: BaseException | None = None) -> None:
        """End the request, with the error that ended it, if any; what never began was for a client that has left.

        A second call does nothing.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._forget is not None:
            self._forget()
        self._follow = self._forget = None  # what they hold leads back here: only the garbage collector would end that
        self._in_flight.__exit__(None, None, None)
        ended, why = self._find_end(error)
        if self._begun is None:
            self._exchange.leave(self.request, self.admission.rule, self.admission.facts, ended)
        elif self._begun.note_end is not None:
            self._begun.note_end(ended, self.sent_bytes, why)

    def _find_end(self, error: BaseException | None) -> tuple[Ended, str]:
        match error:
            case None:
                return Ended.COMPLETE if self.is_complete else Ended.CLIENT_GONE, ""
            case StreamRevoked():
                return end_of_refused(error.reason), error.reason
            case CancelledError():
                return _end_of(self.request), ""
            case OSError():  # what a server raises for a client that has left
                return Ended.CLIENT_GONE, ""
        return Ended.INTERNAL_ERROR, ""


def _end_of(request: RequestHead) -> Ended:
    """How a request ends that is cancelled."""
    is_gone = request.is_gone is None or request.is_gone()
    return Ended.CLIENT_GONE if is_gone else Ended.STOPPED


class Asking:
    """What an admission of a request would be asked by the policies of the moment: found anew when these change."""

    def __init__(
        self, policies: PolicySource, request: RequestHead, find_rule: FindRule | None, authenticator: Authenticator
    ) -> None:
        self._policies = policies
        self._request = request
        self._find_rule = find_rule or self._match
        self._authenticator = authenticator
        self._found_in: PolicySet | None = None
        self._found: Asked | Reason = Reason.NO_MATCHING_RULE

    def __call__(self) -> Asked | Reason:
        """What is asked, or the reason for which nobody would be."""
        if self._found_in is not self._policies.current:
            self._found_in = self._policies.current
            self._found = self._find()
        return self._found

    def _find(self) -> Asked | Reason:
        rule = self._find_rule()
        if rule is None:
            return Reason.NO_MATCHING_RULE
        project = rule.project_of(parse_path(self._request.path) or ())
        if rule.is_public:
            return Asked(rule, project=project)
        presented = self._authenticator.read_digest(self._request, rule.policy)
        return presented if isinstance(presented, Reason) else Asked(rule, presented, project=project)

    def _match(self) -> Rule | None:
        request = self._request
        return self._policies.current.match(request.host, request.method, parse_path(request.path) or ())


def asks_server(request: RequestHead) -> bool:
    """Whether the request is `OPTIONS *`: about the server, and so about nothing that a rule could match."""
    return request.path == "*" and request.method == "OPTIONS" and request.fault is None


def build_server_options() -> Response:
    """What the server as a whole can do (RFC 9110 9.3.7), for whoever asks; a rule may allow less."""
    return Response(ResponseHead(204, [(b"allow", METHODS), (b"cache-control", b"no-store")]), b"")


def find_own_answer(request: RequestHead, rule: Rule) -> Response | None:
    """The answer to an OPTIONS request that the backend is not asked for."""
    return build_options(rule) or (build_last_hop() if hops_left(request) == 0 else None)
