"""One request, from its head to its response. Start reading here.

`authorize` is the first half: it serves the proxy, forward-auth and the plugin alike. `answer` is the whole, `check`
the half that another proxy asks for. Both order
what core decides and adapters do; neither knows HTTP servers, Redis or a clock.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from gateway.adapters import names
from gateway.adapters.content import collect, give_up
from gateway.adapters.protocols import AccessLog, Admissions, Exports, FailedCredentials, Streams, Upstreams
from gateway.core import caching, exports
from gateway.core.credentials import find_credential
from gateway.core.decision import FAILED_CREDENTIALS, Asked, Deny, decide
from gateway.core.errors import StoreUnavailable, UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.core.fields import build_http_date
from gateway.core.forward_auth import AskingProxy, build_allowed, translate
from gateway.core.forwarding import build_request_fields, build_response_fields
from gateway.core.messages import RequestHead, Response, ResponseHead, field_value
from gateway.core.outcomes import (
    Authorized,
    Refused,
    build_access_record,
    build_refused,
    build_token_state,
    refuse,
)
from gateway.core.policies.rules import PolicySet, Rule
from gateway.core.reasons import Reason
from gateway.core.targets import parse_path
from gateway.core.tokens import digest, token_id

STORE_RETRY_SECONDS = 1
"""Retry-After while Redis is away: the probe finds it back within a tenth of this."""
UPSTREAM_REASONS: dict[type[UpstreamError], Reason] = {
    UpstreamUnreachable: Reason.UPSTREAM_UNREACHABLE,
    UpstreamTimeout: Reason.UPSTREAM_TIMEOUT,
    UpstreamBroken: Reason.UPSTREAM_BROKEN,
}


class PolicySource(Protocol):
    """Where the policy set of the moment comes from."""

    @property
    def current(self) -> PolicySet:
        """The last good set."""
        ...


class Exchange:
    """Answers requests with the policies, Redis and backends it is given."""

    def __init__(
        self,
        policies: PolicySource,
        admissions: Admissions,
        exports: Exports,
        upstreams: Upstreams,
        streams: Streams,
        failures: FailedCredentials | None,
        access_log: AccessLog | None,
        pepper: bytes,
    ) -> None:
        self._policies = policies
        self._admissions = admissions
        self._exports = exports
        self._upstreams = upstreams
        self._streams = streams
        self._failures = failures
        self._access_log = access_log
        self._pepper = pepper

    async def authorize(self, request: RequestHead) -> Authorized | Refused:
        """Whether the request may pass: one policy set, one rule, one credential, one round trip, one verdict."""
        policies = self._policies.current
        segments = parse_path(request.path)
        if segments is None:
            return Refused(Reason.MALFORMED_TARGET)
        rule = policies.match(request.host, request.method, segments)
        if rule is None:
            return Refused(Reason.NO_MATCHING_RULE)
        presented = "" if rule.is_public else self.read_credential(request, rule)
        if isinstance(presented, Refused):
            return presented
        asked = Asked(
            rule, presented, exports.export_key(rule, request), rule.project_of(segments), address=request.client
        )
        try:
            facts = await self._admissions.admit(asked)
        except StoreUnavailable:
            return Refused(Reason.STORE_UNAVAILABLE, rule, retry_after=STORE_RETRY_SECONDS)
        verdict = decide(rule, facts)
        if isinstance(verdict, Deny):
            return self.refuse_credential(request, refuse(rule, verdict))
        return Authorized(rule, verdict.record, facts)

    async def answer(self, request: RequestHead, content: AsyncIterator[bytes] | None) -> Response:
        """The response to a request whose `content` is None where it has none."""
        admission = await self.authorize(request)
        if isinstance(admission, Refused):
            return self.finish(request, admission, build_refused(request, admission))
        rule, now, raw_head = admission.rule, admission.facts.now, admission.facts.stored_head
        export = exports.decode_export(raw_head) if raw_head else None
        plan = caching.plan_answer(rule, request, export, now)
        try:
            if isinstance(plan, caching.NotModified):
                response = caching.build_not_modified(plan.export, now)
            elif isinstance(plan, caching.Reuse):
                reused = await self._reuse(request, admission, plan.export)
                response = reused or await self._forward(request, content, admission, "uri-miss")
            elif plan.fallback is None:
                response = await self._forward(request, content, admission, plan.why)
            else:
                response = await self._forward_or_stand_in(request, admission, plan.fallback)
        except UpstreamError as error:
            refused = Refused(UPSTREAM_REASONS[type(error)], rule, admission.facts)
            return self.finish(request, refused, build_refused(request, refused))
        return self.finish(request, admission, response)

    async def check(self, request: RequestHead, proxy: AskingProxy) -> Response:
        """The answer to a proxy that passes the request on itself (forward-auth): 200 without content where it may."""
        admission = await self.authorize(request)
        if isinstance(admission, Refused):
            return translate(proxy, self.finish(request, admission, build_refused(request, admission)))
        return self.finish(request, admission, build_allowed(proxy, admission))

    def read_credential(self, request: RequestHead, rule: Rule) -> str | Refused:
        """The digest of the presented token, found without IO."""
        credential = find_credential(request.fields, rule.policy)
        if credential is Reason.MISSING_CREDENTIALS:
            return Refused(credential, rule)
        blocked_for = self._failures.retry_after(request.client) if self._failures else None
        if blocked_for is not None:  # before it is known whether the credential would have been good
            return Refused(Reason.TOO_MANY_FAILURES, rule, retry_after=blocked_for)
        if isinstance(credential, Reason):
            return self.refuse_credential(request, Refused(credential, rule))
        return digest(credential, self._pepper)

    def refuse_credential(self, request: RequestHead, refused: Refused) -> Refused:
        """The refusal, counted where the credential itself was at fault."""
        if self._failures is not None and refused.reason in FAILED_CREDENTIALS:
            self._failures.note(request.client)
        return refused

    async def _reuse(self, request: RequestHead, admission: Authorized, export: exports.Export) -> Response | None:
        """The stored export, None where its content is gone."""
        name, raw_head = _export_name(request, admission), admission.facts.stored_head
        if name is None or raw_head is None:
            return None
        content = self._exports.recall(name, raw_head)
        if content is None:
            content = await self._exports.read(name, raw_head)
        if content is None:
            return None
        return caching.build_reused(export, b"" if request.method == "HEAD" else content, admission.facts.now)

    async def _forward_or_stand_in(
        self, request: RequestHead, admission: Authorized, stale: exports.Export
    ) -> Response:
        """The backend's answer, or the stale export while the backend fails (stale-if-error, RFC 5861 4)."""
        try:
            answer = await self._forward(request, None, admission, "stale")
        except UpstreamError:
            stand_in = await self._stand_in(request, admission, stale)
            if stand_in is None:
                raise
            return stand_in
        if answer.head.status in caching.FAILURES:
            stand_in = await self._stand_in(request, admission, stale)
            if stand_in is not None:
                await give_up(answer.content)
                return stand_in
        return answer

    async def _stand_in(self, request: RequestHead, admission: Authorized, stale: exports.Export) -> Response | None:
        if caching.is_unmodified(request.fields, stale.head.tag):
            return caching.build_not_modified(stale, admission.facts.now)
        return await self._reuse(request, admission, stale)

    async def _forward(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized, why: str
    ) -> Response:
        """The backend's answer, stored where that is allowed."""
        rule = admission.rule
        wants_export = exports.is_cacheable(rule, request)
        fields = build_request_fields(
            request, rule.policy, admission.record, caching.CONDITIONAL_FIELDS if wants_export else frozenset()
        )
        answer = await self._upstreams.send(rule.policy.upstream, request.method, request.target, fields, content)
        if wants_export and request.method == "GET" and answer.head.status == 200:
            whole = await collect(answer.content, exports.MAXIMUM_EXPORT_BYTES)
            if isinstance(whole, bytes):
                return await self._export(request, admission, answer.head, whole, why)
            answer = Response(answer.head, whole)
        response_fields = build_response_fields(answer.head)
        if why:
            response_fields.append((b"cache-status", caching.build_cache_status_forwarded(why, is_stored=False)))
        stream = answer.content
        if admission.record is not None and not isinstance(stream, bytes):
            stream = self._streams.watch(token_id(admission.record.digest), stream)
        return Response(ResponseHead(answer.head.status, response_fields), stream)

    async def _export(
        self, request: RequestHead, admission: Authorized, head: ResponseHead, content: bytes, why: str
    ) -> Response:
        """A backend's complete export: tagged, stored where allowed, and not sent to a client that has it."""
        now, rule = admission.facts.now, admission.rule
        stored = exports.make_head(rule, request, head, content, now)
        name, is_stored = _export_name(request, admission), False
        if name is not None and exports.may_store(rule, request, head, stored):
            keep_milliseconds = exports.keep_milliseconds(rule, stored, now)
            is_stored = await self._exports.write(name, exports.encode_head(stored), content, keep_milliseconds)
        export = exports.build_export(stored, keeps_cache_control=not is_stored)
        status = (b"cache-status", caching.build_cache_status_forwarded(why, is_stored=is_stored))
        if caching.is_unmodified(request.fields, stored.tag):
            return Response(ResponseHead(304, [*export.not_modified_fields, status]), b"")
        own = ResponseHead(200, [*export.reply_fields, status])
        return Response(ResponseHead(200, build_response_fields(own)), content)

    def finish(self, request: RequestHead, outcome: Authorized | Refused, response: Response) -> Response:
        """Adds what every answer carries, and appends the access record."""
        fields = response.head.fields
        fields.append((b"x-request-id", request.id.encode()))
        if field_value(fields, b"date") is None:
            fields.append((b"date", build_http_date(int(request.received_at))))
        fields += build_token_state(outcome)
        if self._access_log is not None:
            self._access_log.append(build_access_record(request, outcome, response.head))
        return response


def _export_name(request: RequestHead, admission: Authorized) -> str | None:
    """The name under which the admission script looked for the export; None where it has none."""
    cache = admission.rule.cache
    who = exports.entitlement(cache, admission.record) if cache else ""
    return names.export(cache.shared_by, who, exports.export_key(admission.rule, request)) if cache and who else None
