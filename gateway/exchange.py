"""One request, from its head to its response. Start reading here.

`authorize` is the first half: it serves the proxy, forward-auth and the plugin alike. `answer` is the whole. Both order
what core decides and adapters do; neither knows HTTP servers, Redis or a clock.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

import msgspec

from gateway.adapters import names
from gateway.adapters.protocols import AccessLog, Admissions, Exports, Upstreams
from gateway.core import caching
from gateway.core.credentials import find_credential
from gateway.core.decision import Deny, Facts, decide, plan_of
from gateway.core.errors import StoreUnavailable, UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.core.fields import build_http_date, build_ratelimit, build_timestamp
from gateway.core.forwarding import build_request_fields, build_response_fields
from gateway.core.messages import ContentStream, Field, RequestHead, Response, ResponseHead, field_value
from gateway.core.policies.rules import PolicySet, Rule
from gateway.core.problems import build_refusal
from gateway.core.quotas import retry_after_seconds
from gateway.core.reasons import Reason
from gateway.core.records import AccessRecord, TokenRecord
from gateway.core.targets import parse_path
from gateway.core.tokens import digest, token_id

STORE_RETRY_SECONDS = 1
"""Retry-After while Redis is away: the probe finds it back within a tenth of this."""
EXPIRY_NOTICE_SECONDS = 14 * 86400
"""From when on X-Token-Expires-At warns that a token ends: a sprint before it does."""

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


class Authorized(msgspec.Struct, frozen=True):
    """The request may pass under `rule`, in the name of `record`."""

    rule: Rule
    record: TokenRecord
    facts: Facts


class Refused(msgspec.Struct, frozen=True):
    """The request may not pass; `rule` and `facts` as far as it came (facts only of an authenticated token)."""

    reason: Reason
    rule: Rule | None = None
    facts: Facts | None = None
    retry_after: int | None = None
    violated_policies: tuple[str, ...] = ()


class Exchange:
    """Answers requests with the policies, Redis and backends it is given."""

    def __init__(
        self,
        policies: PolicySource,
        admissions: Admissions,
        exports: Exports,
        upstreams: Upstreams,
        access_log: AccessLog | None,
        pepper: bytes,
    ) -> None:
        self._policies = policies
        self._admissions = admissions
        self._exports = exports
        self._upstreams = upstreams
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
        credential = find_credential(request.fields, rule.policy)
        if isinstance(credential, Reason):
            return Refused(credential, rule)
        export_key = caching.export_key(rule, request)
        try:
            facts = await self._admissions.admit(rule, digest(credential, self._pepper), export_key)
        except StoreUnavailable:
            return Refused(Reason.STORE_UNAVAILABLE, rule, retry_after=STORE_RETRY_SECONDS)
        verdict = decide(rule, facts)
        if isinstance(verdict, Deny):
            return _refuse(rule, verdict)
        return Authorized(rule, verdict.record, facts)

    async def answer(self, request: RequestHead, content: AsyncIterator[bytes] | None) -> Response:
        """The response to a request whose `content` is None where it has none."""
        admission = await self.authorize(request)
        if isinstance(admission, Refused):
            return self._finish(request, admission, _build_refusal(request, admission))
        rule, now, raw_head = admission.rule, admission.facts.now, admission.facts.stored_head
        export = caching.decode_export(raw_head) if raw_head else None
        plan = caching.plan_answer(rule, request, export, now)
        try:
            if isinstance(plan, caching.NotModified):
                response = _build_not_modified(plan.export, now)
            elif isinstance(plan, caching.Reuse):
                response = await self._reuse(request, admission, plan.export) or await self._forward(
                    request, content, admission, "uri-miss"
                )
            else:
                response = await self._forward(request, content, admission, plan.why)
        except UpstreamError as error:
            refused = Refused(UPSTREAM_REASONS[type(error)], rule, admission.facts)
            return self._finish(request, refused, _build_refusal(request, refused))
        return self._finish(request, admission, response)

    async def _reuse(self, request: RequestHead, admission: Authorized, export: caching.Export) -> Response | None:
        """The stored export, None where its content is gone."""
        raw_head, name = admission.facts.stored_head or b"", _export_name(request, admission)
        content = self._exports.recall(name, raw_head) or await self._exports.read(name, raw_head)
        if content is None:
            return None
        now = admission.facts.now
        age = b"%d" % caching.current_age(export.head, now)
        fields = [*export.reply_fields, (b"age", age), (b"cache-status", caching.build_hit(export.head, now))]
        return Response(ResponseHead(200, fields), b"" if request.method == "HEAD" else content)

    async def _forward(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized, why: str
    ) -> Response:
        """The backend's answer, stored where that is allowed."""
        rule = admission.rule
        wants_export = caching.is_cacheable(rule, request)
        fields = build_request_fields(
            request, rule.policy, admission.record, caching.CONDITIONAL_FIELDS if wants_export else frozenset()
        )
        answer = await self._upstreams.send(rule.policy.upstream, request.method, request.target, fields, content)
        if wants_export and request.method == "GET" and answer.head.status == 200:
            whole = await _collect(answer.content, caching.MAXIMUM_EXPORT_BYTES)
            if isinstance(whole, bytes):
                return await self._export(request, admission, answer.head, whole, why)
            answer = Response(answer.head, whole)
        response_fields = build_response_fields(answer.head.fields)
        if why:
            response_fields.append((b"cache-status", caching.build_forwarded(why, is_stored=False)))
        return Response(ResponseHead(answer.head.status, response_fields), answer.content)

    async def _export(
        self, request: RequestHead, admission: Authorized, head: ResponseHead, content: bytes, why: str
    ) -> Response:
        """A backend's complete export: tagged, stored where allowed, and not sent to a client that has it."""
        now, rule = admission.facts.now, admission.rule
        stored = caching.make_head(rule, request, head, content, now)
        is_stored = caching.may_store(rule, request, head, stored) and await self._exports.write(
            _export_name(request, admission), caching.encode_head(stored), content, stored.fresh_until - now
        )
        export = caching.build_export(stored, keeps_cache_control=not is_stored)
        status = (b"cache-status", caching.build_forwarded(why, is_stored=is_stored))
        if caching.is_unmodified(request.fields, stored.tag):
            return Response(ResponseHead(304, [*export.not_modified_fields, status]), b"")
        return Response(ResponseHead(200, build_response_fields([*export.reply_fields, status])), content)

    def _finish(self, request: RequestHead, outcome: Authorized | Refused, response: Response) -> Response:
        """Adds what every answer carries, and appends the access record."""
        fields = response.head.fields
        fields.append((b"x-request-id", request.id.encode()))
        if field_value(fields, b"date") is None:
            fields.append((b"date", build_http_date(int(request.received_at))))
        if outcome.facts is not None and outcome.rule is not None:
            fields += _token_state_fields(outcome.rule, outcome.facts)
        if self._access_log is not None:
            self._access_log.append(_build_access_record(request, outcome, response.head))
        return response


def _refuse(rule: Rule, verdict: Deny) -> Refused:
    if verdict.reason is not Reason.QUOTA_EXCEEDED or verdict.facts is None or verdict.facts.record is None:
        return Refused(verdict.reason, rule, verdict.facts)
    windows, identity = verdict.violated, token_id(verdict.facts.record.digest)
    return Refused(
        verdict.reason,
        rule,
        verdict.facts,
        retry_after=retry_after_seconds(windows, verdict.facts.now, identity),
        violated_policies=tuple(window.quota.name for window in windows),
    )


def _build_refusal(request: RequestHead, refused: Refused) -> Response:
    return build_refusal(
        refused.reason,
        refused.rule.policy if refused.rule else None,
        request.id,
        required_scopes=refused.rule.scopes if refused.rule else (),
        retry_after=refused.retry_after,
        violated_policies=refused.violated_policies,
    )


def _build_not_modified(export: caching.Export, now: int) -> Response:
    fields = [*export.not_modified_fields, (b"cache-status", caching.build_hit(export.head, now))]
    return Response(ResponseHead(304, fields), b"")


def _export_name(request: RequestHead, admission: Authorized) -> str:
    """The name under which the admission script looked for the export."""
    rule, record = admission.rule, admission.record
    if rule.cache is None:
        raise ValueError(f"{rule.pattern.text} has no exports")
    entitlements = {"project": record.project, "owner": record.owner, "token": token_id(record.digest)}
    kind = rule.cache.shared_by
    return names.export(kind, entitlements[kind], caching.export_key(rule, request))


def _token_state_fields(rule: Rule, facts: Facts) -> list[Field]:
    """Where the token stands: its quotas, and its end if that is near."""
    fields: list[Field] = []
    plan = plan_of(rule, facts)
    if plan is not None and facts.windows:
        fields.append((b"ratelimit-policy", plan.policy_field))
        fields.append((b"ratelimit", build_ratelimit(facts.windows, facts.now)))
    expires_at = facts.record.expires_at if facts.record else None
    if expires_at is not None and expires_at * 1000 - facts.now < EXPIRY_NOTICE_SECONDS * 1000:
        fields.append((b"x-token-expires-at", build_timestamp(expires_at)))
    return fields


def _build_access_record(request: RequestHead, outcome: Authorized | Refused, head: ResponseHead) -> AccessRecord:
    record = outcome.facts.record if outcome.facts else None
    return AccessRecord(
        time=request.received_at,
        request_id=request.id,
        peer=request.peer,
        method=request.method,
        host=request.host,
        path=request.path,
        status=head.status,
        policy=outcome.rule.policy.name if outcome.rule else "",
        rule=outcome.rule.pattern.text if outcome.rule else "",
        token=token_id(record.digest) if record else "",
        token_name=record.name if record else "",
        reason=outcome.reason if isinstance(outcome, Refused) else "",
        cache=(field_value(head.fields, b"cache-status") or b"").decode(),
    )


async def _collect(content: bytes | ContentStream, limit: int) -> bytes | ContentStream:
    """All of `content`, or, where it is longer than `limit`, a stream of the same."""
    if isinstance(content, bytes):
        return content
    pieces: list[bytes] = []
    size = 0
    async for piece in content:
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return _resume(pieces, content)
    return b"".join(pieces)


async def _resume(pieces: list[bytes], rest: ContentStream) -> AsyncGenerator[bytes, None]:
    try:
        for piece in pieces:
            yield piece
        async for piece in rest:
            yield piece
    finally:
        await rest.aclose()
