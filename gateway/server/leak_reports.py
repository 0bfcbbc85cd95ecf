"""`/-/leaks/github`: the endpoint that GitHub's secret scanning reports found tokens to.

Rule: whoever sends slowly keeps nobody else out. GitHub sends a report at once, so of too many calls the one that has
been read for the longest time makes room.
"""

import asyncio
import logging

import msgspec
from litestar.types import HTTPScope, Receive, Send

from gateway.core.errors import IssuerUnavailable, StoreUnavailable
from gateway.core.http.messages import RequestHead, Response, ResponseHead, field_value
from gateway.core.http.problems import PROBLEM_JSON
from gateway.core.leaks.reports import MAXIMUM_CONTENT_BYTES, LeakFeedback, parse_reports
from gateway.management.leaks import LeakReports, SignatureCheck
from gateway.server.asgi import read_content, read_scope, reply
from gateway.server.requests import RequestAcceptor

IDENTIFIER, SIGNATURE = b"github-public-key-identifier", b"github-public-key-signature"
RETRY_SECONDS = 10
MAXIMUM_CALLS = 8
"""Calls in progress of one worker: GitHub sends few, and each may be a megabyte that nobody has verified yet."""
READ_SECONDS = 30.0
"""For the content of a call."""
FULL = "Too many leak reports at once, or one that came too slowly; retry later."
UNSIGNED = "The content has no valid signature of GitHub."

logger = logging.getLogger(__name__)


class LeakReportEndpoint:
    """The ASGI application of the address."""

    def __init__(self, signatures: SignatureCheck, reports: LeakReports, acceptor: RequestAcceptor) -> None:
        self._signatures = signatures
        self._reports = reports
        self._acceptor = acceptor
        self._reading: dict[asyncio.Timeout, None] = {}
        """The calls whose content is being read, the oldest first, by what ends them."""
        self._acting = 0
        """Calls whose content is there."""

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Take one call."""
        request = self._acceptor.accept(read_scope(scope))
        await reply(await self._read(request, receive), send)

    async def _read(self, request: RequestHead, receive: Receive) -> Response:
        signer, signature = (
            (field_value(request.fields, name) or b"").decode("latin-1") for name in (IDENTIFIER, SIGNATURE)
        )
        if request.fault is not None:
            return _refuse(request, 400, "The request is malformed.")
        if not signer or not signature:
            return _refuse(request, 401, UNSIGNED)
        if not self._make_room():
            return _refuse(request, 503, FULL, RETRY_SECONDS)
        try:
            content = await self._read_in_time(receive)
        except TimeoutError:
            return _refuse(request, 503, FULL, RETRY_SECONDS)
        if content is None:
            return _refuse(request, 413, f"The content has more than {MAXIMUM_CONTENT_BYTES} bytes.")
        self._acting += 1
        try:
            return await self._answer(request, content, signer, signature)
        finally:
            self._acting -= 1

    def _make_room(self) -> bool:
        """Return whether there is room for a call; end the reading of the oldest if that makes room."""
        if len(self._reading) + self._acting < MAXIMUM_CALLS:
            return True
        oldest = next(iter(self._reading), None)
        if oldest is None:
            return False
        del self._reading[oldest]
        oldest.reschedule(0)
        return True

    async def _read_in_time(self, receive: Receive) -> bytes | None:
        """Return the content, or None if it is too large. Raise TimeoutError if it takes too long or makes room."""
        async with asyncio.timeout(READ_SECONDS) as limit:
            self._reading[limit] = None
            try:
                return await read_content(receive, MAXIMUM_CONTENT_BYTES)
            finally:
                self._reading.pop(limit, None)

    async def _answer(self, request: RequestHead, content: bytes, signer: str, signature: str) -> Response:
        try:
            if not await self._signatures.is_signed(content, signer, signature):
                logger.warning("leak report %s: no valid signature, from %s", request.id, request.client)
                return _refuse(request, 401, UNSIGNED)
            feedback = await self._reports.take_reports(parse_reports(content))
        except IssuerUnavailable as error:
            logger.warning("leak report %s: GitHub's keys are not known: %s", request.id, error)
            return _refuse(request, 503, "GitHub's keys cannot be fetched at the moment; retry later.", RETRY_SECONDS)
        except StoreUnavailable:
            return _refuse(request, 503, "The gateway cannot reach its tokens at the moment; retry later.", 1)
        except ValueError as error:
            return _refuse(request, 400, str(error))
        return _build_feedback(feedback)


def _build_feedback(feedback: list[LeakFeedback]) -> Response:
    content = msgspec.json.encode(feedback)
    return Response(ResponseHead(200, _fields(b"application/json", content)), content)


def _refuse(request: RequestHead, status: int, detail: str, retry_after: int | None = None) -> Response:
    content = msgspec.json.encode({"type": "about:blank", "status": status, "detail": detail, "request_id": request.id})
    fields = _fields(PROBLEM_JSON, content)
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % retry_after))
    return Response(ResponseHead(status, fields), content)


def _fields(media_type: bytes, content: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"cache-control", b"no-store"),
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(content)),
    ]
