"""One request, from its head to its response. Start reading here.

`read_request` and `authorize` are the first half, which the proxy, forward-auth and the plugin share: what Redis is
asked, and what follows from its reply. `check` uses them to answer another proxy. `handle` is the whole request;
cache.py has what concerns the cache and the backend. They order what core decides and adapters do; none of them knows
HTTP servers or Redis.
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
    OutcomeWatch,
    PolicySource,
    QuotaRefunds,
    Streams,
)
from gateway.adapters.streams import PIECE_BYTES, Pieces
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused, decide
from gateway.core.admission.outcomes import (
    add_token_state,
    build_access_record,
    build_refused,
    refuse_options,
    refuse_unmatched,
    settle,
)
from gateway.core.cache.invalidation import SAFE_METHODS
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
from gateway.core.policies.model import PolicySet, Rule
from gateway.core.upstream.forwarding import build_last_hop, hops_left
from gateway.core.usage import build_usage_key
from gateway.core.variants.exchange_heads import build_options, find_variant
from gateway.core.variants.model import InvalidOptions, Variant
from gateway.pipeline.authenticator import Authenticator
from gateway.pipeline.cache import ExportCache

STORE_RETRY_SECONDS = 1
"""Retry-After while Redis is away: the probe finds it within a tenth of this once it is back."""
MEMORY_RETRY_SECONDS = 1
"""Retry-After while too much content waits for clients: any of them may finish at any time."""
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
"""Finds the rule of a request in the current policies, for a caller that matches by more than host, method and path."""


class Reading(msgspec.Struct, frozen=True):
    """What one request asks of Redis, by the policies of the moment. It is a function of them and the request alone."""

    policies: PolicySet
    question: AdmissionRequest
    """Without a lease, which is each request's own."""
    variant: Variant | InvalidOptions | None = None


class ProductApi(Protocol):
    """The part that answers rules with `manage`: management/product_api.py."""

    async def handle(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized
    ) -> Response:
        """Return the answer to a request that may pass. Raise StoreUnavailable if Redis is away."""
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
        watch: OutcomeWatch | None = None,
    ) -> None:
        self._watch = watch
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

    def read_request(self, request: RequestHead, rule: Rule | None = None) -> Reading | Refused:
        """Read what Redis is to be asked: one policy set, one rule, one credential. Nothing is asked yet.

        The matching rule is used unless the caller has found one already. A malformed request matches none.
        """
        if request.fault is not None:
            return Refused(request.fault)
        policies = self._policies.current if request.answered is None else request.answered.policies
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
        variant = find_variant(rule, request, segments) if rule.variants is not None else None
        project = "" if rule.project_segment is None else rule.project_of(segments)
        key = "" if rule.cache is None else export_key(rule, request, variant)
        question = AdmissionRequest(rule, presented, key, project, request.client)
        return Reading(policies, question, variant)

    def read_again(self, request: RequestHead, reading: Reading) -> Reading | Refused:
        """Return what was read of an equal request, unless its client has presented too many bad credentials since."""
        rule = reading.question.rule
        blocked_for = None if rule.is_public else self._authenticator.blocked_for(request)
        return reading if blocked_for is None else Refused(Reason.TOO_MANY_FAILURES, rule, retry_after=blocked_for)

    async def authorize(self, request: RequestHead, reading: Reading | Refused) -> Authorized | Refused:
        """Decide if the request may pass: one round trip, one verdict. What was read of it may be a refusal already."""
        if isinstance(reading, Refused):
            return reading
        answered, lesson, question, variant = request.answered, request.lesson, reading.question, reading.variant
        rule = question.rule
        if rule.has_leases or lesson is not None:
            lease = "" if not rule.has_leases else self._refunds.new_lease() if answered is None else answered.lease
            question = msgspec.structs.replace(question, lease=lease, keeps_reply=lesson is not None)
        facts_to_come = self._admissions.admit(question, answered)
        try:
            facts = await facts_to_come
        except StoreUnavailable:
            self._check_left(request, rule, None)
            return Refused(Reason.STORE_UNAVAILABLE, rule, retry_after=STORE_RETRY_SECONDS)
        except CancelledError:  # Redis charges it all the same, so the result is recorded
            leave = partial(self._leave_unanswered, request, rule, _end_of(request))
            self._admissions.call_when_found(facts_to_come, leave)
            raise
        if answered is not None:
            self._check_left(request, rule, facts)
        if lesson is not None:
            lesson.request, lesson.policies, lesson.facts = request, reading.policies, facts
        verdict = decide(facts)
        if isinstance(verdict, Refused):
            return verdict if facts.exists else self._authenticator.refuse(request, verdict)
        if isinstance(variant, InvalidOptions):
            return refuse_options(rule, facts, variant)
        return verdict if variant is None else Authorized(rule, facts, variant)

    async def handle(
        self,
        request: RequestHead,
        content: AsyncIterator[bytes] | None,
        reading: Reading | Refused | None = None,
        find_rule: FindRule | None = None,
    ) -> Response:
        """Return the response to a request; `content` is None if the request has none, `reading` if it is to be read.

        A long answer is aborted with StreamRevoked if another request for it would be refused meanwhile.
        """
        admission = await self.authorize(request, reading or self.read_request(request))
        if isinstance(admission, Refused):
            own = build_server_options() if asks_server(request) else build_refused(request, admission)
            return self.finish(request, admission, own)
        try:
            if admission.facts.request.lease:
                with self._refunds.in_flight(admission.facts) as in_flight:
                    response = in_flight.until_sent(await self._answer(request, content, admission))
            else:
                response = await self._answer(request, content, admission)
        except (CancelledError, ClientGone) as error:
            ended = Ended.CLIENT_GONE if isinstance(error, ClientGone) else _end_of(request)
            self.leave(request, admission.rule, admission.facts, ended)
            raise
        if isinstance(response.content, bytes) and len(response.content) <= PIECE_BYTES:
            return response  # nearly all
        stream = Pieces(response.content) if isinstance(response.content, bytes) else response.content
        current_request = CurrentAdmissionRequest(self._policies, request, find_rule, self._authenticator)
        watched = self._streams.watch(admission.facts, current_request, stream)
        return msgspec.structs.replace(response, content=watched)

    async def _answer(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized
    ) -> Response:
        """Return the response to a request that may pass."""
        own = find_own_answer(request, admission.rule) if request.method == "OPTIONS" else None
        if own is not None:
            return self.finish(request, admission, own)
        try:
            if admission.rule.manage is not None and self._product_api is not None:
                response: Response | Refused = await self._product_api.handle(request, content, admission)
            else:
                response = await self._export_cache.respond(request, content, admission)
        except StoreUnavailable:
            response = Refused(Reason.STORE_UNAVAILABLE, admission.rule, admission.facts, STORE_RETRY_SECONDS)
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
        detail = self._policies.current.masking.mask(str(error)) if isinstance(error, BrokenDocument) else ""
        return Refused(
            UPSTREAM_REASONS[type(error)],
            admission.rule,
            admission.facts,
            error.retry_after,
            detail=detail,
            upstream_error=error.cause,
        )

    async def check(self, request: RequestHead, proxy: AskingProxy) -> Response:
        """Answer a proxy that passes the request on itself (forward-auth), with 200 and no content if it may pass."""
        admission = await self.authorize(request, self.read_request(request))
        if isinstance(admission, Refused):
            return translate(proxy, self.finish(request, admission, build_refused(request, admission)))
        self._release(admission.facts)  # the end of the request is not visible here
        assertion = build_assertion(self._issuer, request, admission, request.target)
        if request.lesson is not None:
            request.lesson.is_check = not assertion
        return self.finish(request, admission, build_allowed(proxy, admission, assertion))

    def refuse(
        self, request: RequestHead, reason: Reason, retry_after: int | None = None, lacking: str = ""
    ) -> Response:
        """Refuse a request that matched no rule, and count and record it like any other."""
        refused = Refused(reason, retry_after=retry_after, lacking=lacking)
        return self.finish(request, refused, build_refused(request, refused))

    async def permit(
        self, request: RequestHead, reading: Reading | Refused, find_rule: FindRule, end: Callable[[Reason], None]
    ) -> "Permission | Response":
        """Return a permission for a caller that answers by itself, or the refusal of a request that may not pass.

        The request is in flight until the permission is closed. After `follow`, `end` is called once if another request
        would be refused.
        """
        admission = await self.authorize(request, reading)
        if isinstance(admission, Refused):
            return self.finish(request, admission, build_refused(request, admission))
        in_flight = self._refunds.in_flight(admission.facts) if admission.facts.request.lease else None
        return Permission(self, request, admission, in_flight, find_rule, end)

    def follow(
        self, request: RequestHead, facts: AdmissionFacts, find_rule: FindRule, end: Callable[[Reason], None]
    ) -> Callable[[], None]:
        """Call `end` once if another request would be refused, until the returned function is called."""
        current_request = CurrentAdmissionRequest(self._policies, request, find_rule, self._authenticator)
        return self._streams.follow(facts, current_request, end)

    def _release(self, facts: AdmissionFacts) -> None:
        """End a request in flight of whose answer nothing more is seen."""
        if facts.request.lease:
            with self._refunds.in_flight(facts):
                pass

    async def begin(self, permission: "Permission", head: ResponseHead) -> Response:
        """Settle and count an answer that the caller gives, and invalidate the target of a write (RFC 9111 4.4)."""
        request, admission = permission.request, permission.admission
        if request.method not in SAFE_METHODS:
            await self._export_cache.invalidate(request, admission.rule.policy, head)
        return self.finish(request, admission, Response(head, b""), is_dated=True)

    def finish(
        self, request: RequestHead, outcome: Authorized | Refused, response: Response, *, is_dated: bool = False
    ) -> Response:
        """Settle what the request cost, count it, and add the fields that every answer has.

        The access record is written when the sender of the answer notes its end. `is_dated` says that the sender
        itself adds Date.
        """
        fields = response.head.fields
        reserved, outcome = outcome, settle(outcome, response.head)
        if outcome is not reserved:
            self._refunds.refund(outcome)
        if self._usage_counter is not None:
            self._usage_counter.count_request(build_usage_key(outcome, response.head))
        if self._watch is not None:
            self._watch.note_outcome(outcome, request.client)
        fields.append((b"x-request-id", request.id.encode()))
        if not is_dated and field_value(fields, b"date") is None:
            fields.append((b"date", build_http_date(int(request.received_at))))
        add_token_state(fields, outcome)
        if request.lesson is not None:
            request.lesson.outcome, request.lesson.response = outcome, response
        if self._access_log is None:
            return response
        return Response(
            response.head,
            response.content,
            partial(self._record, request, outcome, response),
            response.upstream_error,
            response.refused,
        )

    def _leave_unanswered(self, request: RequestHead, rule: Rule, ended: Ended, facts: AdmissionFacts | None) -> None:
        """Take in an admission whose client has left, and release what it holds."""
        verdict = decide(facts) if facts is not None else None
        if isinstance(verdict, Authorized):
            self._release(verdict.facts)
        self.leave(request, rule, verdict.facts if verdict is not None else None, ended)

    def _check_left(self, request: RequestHead, rule: Rule, facts: AdmissionFacts | None) -> None:
        """Raise ClientGone if the client left while Redis was asked, and record that."""
        if request.answered is not None and request.answered.is_left:
            self._leave_unanswered(request, rule, Ended.CLIENT_GONE, facts)
            raise ClientGone

    def leave(self, request: RequestHead, rule: Rule, facts: AdmissionFacts | None, ended: Ended) -> None:
        """Count and record a request that is not answered because its client is gone. It stays charged."""
        reason = Reason.CLIENT_GONE if ended is Ended.CLIENT_GONE else Reason.STOPPED
        outcome, head = Refused(reason, rule, facts), ResponseHead(PROBLEMS[reason].status, [])
        if self._usage_counter is not None:
            self._usage_counter.count_request(build_usage_key(outcome, head))
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
    """The permission for one request, which the caller answers by itself: see `Exchange.permit`."""

    def __init__(
        self,
        exchange: Exchange,
        request: RequestHead,
        admission: Authorized,
        in_flight: InFlight | None,
        find_rule: FindRule,
        end: Callable[[Reason], None],
    ) -> None:
        self.request = request
        self.admission = admission
        self.sent_bytes = 0
        """Bytes of the answer's content, for its record."""
        self.is_complete = False
        """Whether the answer was complete."""
        self._exchange = exchange
        self._in_flight = in_flight
        self._find_rule = find_rule
        self._end: Callable[[Reason], None] | None = end
        self._forget: Callable[[], None] | None = None
        self._begun: Response | None = None
        self._is_closed = False

    async def begin(self, head: ResponseHead) -> ResponseHead:
        """Return the head that the client gets: `head` with the fields that every answer has."""
        self._begun = await self._exchange.begin(self, head)
        return self._begun.head

    def follow(self) -> None:
        """Watch from now on whether another request would be refused, for an answer that takes long."""
        if self._end is not None:
            self._forget = self._exchange.follow(self.request, self.admission.facts, self._find_rule, self._end)
            self._end = None

    def release(self) -> None:
        """Count the request as in flight no longer: the last part of its answer is about to be sent."""
        if self._in_flight is not None:
            self._in_flight.__exit__(None, None, None)
            self._in_flight = None

    def close(self, error: BaseException | None = None) -> None:
        """End the request, with the error that ended it, if any. If no answer has begun, the client has left.

        A second call does nothing.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._forget is not None:
            self._forget()
        self._end = self._forget = None  # they refer back to this object, which would be a reference cycle
        self.release()
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
            case OSError():  # servers raise it if the client has left
                return Ended.CLIENT_GONE, ""
        return Ended.INTERNAL_ERROR, ""


def _end_of(request: RequestHead) -> Ended:
    """Return how a cancelled request ended."""
    is_gone = request.is_gone is None or request.is_gone()
    return Ended.CLIENT_GONE if is_gone else Ended.STOPPED


class CurrentAdmissionRequest:
    """The question that an admission of the request would ask Redis; it is built again if the policies change."""

    def __init__(
        self, policies: PolicySource, request: RequestHead, find_rule: FindRule | None, authenticator: Authenticator
    ) -> None:
        self._policies = policies
        self._request = request
        self._find_rule = find_rule or self._match
        self._authenticator = authenticator
        self._found_in: PolicySet | None = None
        self._found: AdmissionRequest | Reason = Reason.NO_MATCHING_RULE

    def __call__(self) -> AdmissionRequest | Reason:
        """Return what to ask, or the reason for which any request would be refused."""
        if self._found_in is not self._policies.current:
            self._found_in = self._policies.current
            self._found = self._find()
        return self._found

    def _find(self) -> AdmissionRequest | Reason:
        rule = self._find_rule()
        if rule is None:
            return Reason.NO_MATCHING_RULE
        project = rule.project_of(parse_path(self._request.path) or ())
        if rule.is_public:
            return AdmissionRequest(rule, project=project)
        presented = self._authenticator.read_digest(self._request, rule.policy)
        return presented if isinstance(presented, Reason) else AdmissionRequest(rule, presented, project=project)

    def _match(self) -> Rule | None:
        request = self._request
        return self._policies.current.match(request.host, request.method, parse_path(request.path) or ())


def asks_server(request: RequestHead) -> bool:
    """Return whether the request is `OPTIONS *`, which is about the server and matches no rule."""
    return request.path == "*" and request.method == "OPTIONS" and request.fault is None


def build_server_options() -> Response:
    """Build the answer to `OPTIONS *`: what the server as a whole can do (RFC 9110 9.3.7); a rule may allow less."""
    return Response(ResponseHead(204, [(b"allow", METHODS), (b"cache-control", b"no-store")]), b"")


def find_own_answer(request: RequestHead, rule: Rule) -> Response | None:
    """Return the gateway's own answer to an OPTIONS request, or None if the backend answers it."""
    return build_options(rule) or (build_last_hop() if hops_left(request) == 0 else None)
