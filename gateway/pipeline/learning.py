"""Learns how a request is answered, from an answer that the long way has given. Read recognition.py first.

Rule: what is learnt depends on the bytes of the request, the policies and the reply of Redis, for a request that is
passed on also on the head of the backend's answer, and else only on values that have holes. Whatever else an answer may
depend on (what others fetch, a document) is not learnt.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

from gateway.adapters.ports import AccessLog, Recall, Releases
from gateway.adapters.redis.admissions import build_question
from gateway.core.admission.decision import (
    FAILED_CREDENTIALS,
    PERMISSION_CHECKS,
    TOKEN_CHECKS,
    AdmissionFacts,
    Authorized,
    Refused,
)
from gateway.core.admission.outcomes import build_access_record
from gateway.core.cache.model import decode_export
from gateway.core.cache.reuse import NO_DEMANDS, Reuse, choose_coding, plan_answer, read_demands
from gateway.core.http.fields import build_http_date
from gateway.core.http.messages import Ended, RequestHead, Response, field_values
from gateway.core.http.reasons import Reason
from gateway.core.http.tracing import PARENT_FIELD, draw_ids, parse_traceparent
from gateway.core.quotas.model import Window, exceeded
from gateway.core.recognition.conclusion import (
    Conclusion,
    Known,
    Moving,
    build_moving,
    compared,
    ends_of,
    line_values,
    near_quotas,
    quota_templates,
    read_numbers,
    write_near,
)
from gateway.core.recognition.form import Form, cut_line, cut_response
from gateway.core.recognition.lesson import Lesson
from gateway.core.recognition.passage import (
    Answer,
    BackendAnswer,
    BackendHead,
    Passage,
    cut_backend_head,
    cut_request,
)
from gateway.core.tokens.text import token_id
from gateway.core.upstream.client_fields import ASSERTION_FIELD
from gateway.core.usage import build_usage_key
from gateway.pipeline.cache import export_name

DECIDED = frozenset(
    [Reason.REVOKED_TOKEN, Reason.UNKNOWN_TOKEN, *(reason for reason, _ in (*TOKEN_CHECKS, *PERMISSION_CHECKS))]
)
"""The reasons of a refusal that follow from what Redis says."""
HIT = b"gateway; hit; ttl="

Stored: TypeAlias = tuple[str, bytes, bytes]
"""Name, digest and coding of stored content."""


class NotLearnt(Exception):
    """Why an answer cannot be learnt: one of a few words, for metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Teacher:
    """Makes conclusions of lessons. `offered` are the content codings, `clock` gives Unix seconds.

    Refusals for a `watched` reason are not learnt: operators may be alerted of any of them.
    """

    def __init__(
        self,
        releases: Releases,
        recall: Recall,
        offered: tuple[bytes, ...],
        access_log: AccessLog | None,
        clock: Callable[[], float],
        watched: frozenset[Reason] = frozenset(),
    ) -> None:
        self._decided = DECIDED - watched
        self._releases = releases
        self._recall = recall
        self._offered = offered
        self._access_log = access_log
        self._clock = clock

    def conclude(self, lesson: Lesson, response: Response, sent: bytes) -> tuple[Known, Conclusion]:
        """Return what is known of the request by now; `sent` are the bytes of the `response`. Raises NotLearnt."""
        request, facts, outcome = lesson.request, lesson.facts, lesson.outcome
        if request is None or facts is None or outcome is None:
            raise NotLearnt("not-asked")
        if not lesson.is_whole:
            raise NotLearnt("not-whole")
        asked = facts.request
        if asked.project and lesson.policies is not None and lesson.policies.masking.holds_token(asked.project):
            raise NotLearnt("token-in-path")  # the table holds no text of a token, wherever a client has written it
        reuse = _find_reuse(lesson, request, facts, outcome, self._decided)
        content = self._find_content(request, outcome, reuse, response)
        moving = _find_moving(facts, outcome, reuse)
        numbers = read_numbers(moving, facts.now, facts.reply)
        if numbers is None:
            raise NotLearnt("quotas")
        known = Known(
            build_question(asked), request.client, _given_id(request), _given_trace(request), bool(asked.lease)
        )
        backend = _find_backend(lesson, request, outcome, moving, sent)
        date = backend[1] if backend else None
        values = (request.id.encode(), build_http_date(int(request.received_at)), date, *numbers)
        form = cut_response(
            sent, values, quota_templates(moving.quotas), has_content=content is None and backend is None
        )
        if form is None:
            raise NotLearnt("form")
        line = self._find_line(lesson, known, near_quotas(moving, facts.reply), numbers[1])
        answer = Answer(form, line, build_usage_key(outcome, response.head))
        return known, Conclusion(
            *compared(facts.reply),
            since=facts.now,
            until=ends_of(facts, reuse.export.head if reuse else None),
            moving=moving,
            answer=_build_passage(lesson, request, known, backend[0], answer) if backend else answer,
            content=content,
            content_hash=hash(response.content) if content is not None else 0,
            leased=self._releases.leased(facts),
            is_authenticated=outcome.facts is not None and outcome.facts.record is not None,
            is_guess=isinstance(outcome, Refused) and outcome.reason in FAILED_CREDENTIALS and not facts.exists,
            is_hit=reuse is not None,
        )

    def _find_content(
        self, request: RequestHead, outcome: Authorized | Refused, reuse: Reuse | None, response: Response
    ) -> Stored | None:
        """Return where the content is stored; None if it is a part of the form, or there is none."""
        if reuse is None or response.content == b"":
            return None
        head = reuse.export.head
        name = export_name(outcome) if isinstance(outcome, Authorized) else None
        stored = (name or "", head.digest, choose_coding(request, reuse, self._offered))
        if self._recall(*stored) != response.content:  # a part of it, or it is gone again
            raise NotLearnt("content")
        return stored

    def build_line(self, lesson: Lesson, ended_at: float) -> bytes:
        """Return the line of the access log that the long way writes; empty if there is none."""
        request, outcome, policies, response = lesson.request, lesson.outcome, lesson.policies, lesson.response
        if self._access_log is None or not (request and outcome and policies and response):
            return b""
        sent = response.content if response.head.status != HTTPStatus.NOT_MODIFIED else b""
        length = len(sent) if isinstance(sent, bytes) else 0
        record = build_access_record(request, outcome, response, policies, Ended.COMPLETE, length, "", ended_at)
        return self._access_log.encode(record)

    def _find_line(self, lesson: Lesson, known: Known, near: list[str], ttl: int | None) -> Form | None:
        """Return the form of the line in the access log; None if there is no log."""
        request, ended_at = lesson.request, self._clock()
        written = self.build_line(lesson, ended_at)
        if not written or request is None:
            return None
        facts = lesson.outcome.facts if lesson.outcome else None
        decided, began = facts.now if facts else None, request.received_at
        line = cut_line(written, line_values(known, request.id, began, ended_at, decided, ttl, write_near(near)))
        if line is None:
            raise NotLearnt("line")
        return line


def _find_reuse(
    lesson: Lesson,
    request: RequestHead,
    facts: AdmissionFacts,
    outcome: Authorized | Refused,
    decided: frozenset[Reason],
) -> Reuse | None:
    """Return how a stored answer is used; None if the response needs none.

    Refusals are learnt if they are for one of the `decided` reasons.
    """
    rule = facts.request.rule
    if rule.cost.by_outcome is not None:
        raise NotLearnt("outcome-priced")
    if isinstance(outcome, Refused):
        if outcome.reason not in decided:
            raise NotLearnt("not-decided")
        return None
    if lesson.is_check:
        return None
    if rule.manage is not None:
        raise NotLearnt("not-cached")
    if rule.cache is None:
        return None
    if read_demands(request.fields) != NO_DEMANDS:
        raise NotLearnt("demands")
    passes = rule.cache.passes_cache_control
    decoded = [decode_export(raw, passes_cache_control=passes) for raw in facts.stored_heads]
    plan = plan_answer(outcome, request, [one for one in decoded if one is not None], facts.stored_now)
    told = field_values(lesson.response.head.fields, b"cache-status") if lesson.response else []
    if not isinstance(plan, Reuse) or plan.detail or not (told and told[-1].startswith(HIT)):
        raise NotLearnt("not-fresh")
    return plan


def _find_backend(
    lesson: Lesson, request: RequestHead, outcome: Authorized | Refused, moving: Moving, sent: bytes
) -> tuple[BackendHead, bytes | None] | None:
    """Return the head of the backend whose answer was passed on, and its Date; None if the gateway itself answers."""
    if isinstance(outcome, Refused) or lesson.is_check or outcome.rule.cache is not None:
        return None
    received = lesson.received
    found = cut_backend_head(received, b"" if _given_id(request) else request.id.encode())
    if found is None:
        raise NotLearnt("backend-answer")
    start, content = received[: found[0].length], received[found[0].length :]
    if sent.partition(b"\r\n\r\n")[2] != content:  # it came in chunks, say
        raise NotLearnt("backend-answer")
    if lesson.policies is None or lesson.policies.masking.holds_token((lesson.sent + start).decode("latin-1")):
        raise NotLearnt("token-in-head")  # in the query or a field, where a client or the backend has written it
    if moving.announced and b"\r\nratelimit" in start.lower():
        raise NotLearnt("backend-limits")  # its numbers and ours become one field
    asked = lesson.sent.lower()
    if b"\r\nrange:" in asked or b"\r\n%b:" % ASSERTION_FIELD.lower() in asked:
        raise NotLearnt("backend-request")
    edits = outcome.rule.upstream.response_edits
    if edits is not None and b"date" in edits.removed:
        return found[0], None  # the client gets another one
    return found


def _build_passage(lesson: Lesson, request: RequestHead, known: Known, head: BackendHead, answer: Answer) -> Passage:
    """Return how the request is passed on to its backend."""
    trace_id, span_id = draw_ids(request.id, request.received_at)
    values = (request.id.encode(), (known.given_trace or trace_id).encode(), span_id.encode())
    form = cut_request(lesson.sent, values, (known.given_id, known.given_trace))
    if form is None:
        raise NotLearnt("backend-request")
    return Passage(lesson.route, {lesson.target_kind: form}, (BackendAnswer(head, len(lesson.received), answer),))


def _find_moving(facts: AdmissionFacts, outcome: Authorized | Refused, reuse: Reuse | None) -> Moving:
    """Return how the numbers are worked out."""
    windows, cost = facts.windows, facts.request.rule.cost.reserved
    if any(window.quota.is_shadow and _has_no_room(window, facts) for window in windows):
        raise NotLearnt("shadow")  # which of them have no room is a matter of numbers, and is recorded
    is_over = isinstance(outcome, Refused) and outcome.reason is Reason.QUOTA_EXCEEDED
    violated = tuple([window.quota.name for window in exceeded(windows, cost)]) if is_over else ()
    who = token_id(facts.record.digest) if facts.record else facts.request.address
    head = reuse.export.head if reuse else None
    return build_moving(tuple([window.quota for window in windows]), cost, violated, who, head)


def _has_no_room(window: Window, facts: AdmissionFacts) -> bool:
    return window.fits_at is not None or not facts.is_charged


def _given_id(request: RequestHead) -> str:
    """Return the request's id if it is the client's own."""
    return request.id if field_values(request.fields, b"x-request-id") == [request.id.encode()] else ""


def _given_trace(request: RequestHead) -> str:
    """Return the trace that the client names."""
    parent = parse_traceparent(field_values(request.fields, PARENT_FIELD))
    return parent.trace_id if parent else ""
