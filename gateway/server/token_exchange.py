"""`/-/token-exchange`: a job shows the ID token of its CI provider and gets a token for some minutes (RFC 8693)."""

import logging

from litestar.types import HTTPScope, Receive, Send

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused
from gateway.core.admission.outcomes import build_refused
from gateway.core.errors import StoreUnavailable
from gateway.core.http.messages import RequestHead, Response, field_value
from gateway.core.http.reasons import Reason
from gateway.core.own_addresses import DEFAULT, TOKEN_EXCHANGE
from gateway.core.policies.guarded import build_rule
from gateway.core.policies.matching import parse_pattern
from gateway.core.trust.messages import (
    MAXIMUM_CONTENT_BYTES,
    ExchangeAnswer,
    ExchangeRefused,
    build_answer,
    parse_exchange,
)
from gateway.management.exchanging import Exchanged, TokenExchange
from gateway.pipeline.authenticator import Authenticator
from gateway.pipeline.exchange import STORE_RETRY_SECONDS, Exchange
from gateway.server.asgi import read_content, read_scope, reply
from gateway.server.requests import RequestAcceptor

PATTERN = parse_pattern(f"POST {DEFAULT.path(TOKEN_EXCHANGE)}")
"""The pattern under which logs name the request, wherever it is asked."""
TOO_LARGE = ExchangeRefused("invalid_request", f"The content has more than {MAXIMUM_CONTENT_BYTES} bytes.", 413)

logger = logging.getLogger(__name__)


class TokenExchangeEndpoint:
    """The ASGI application of the address."""

    def __init__(
        self, exchange: Exchange, authenticator: Authenticator, token_exchange: TokenExchange, acceptor: RequestAcceptor
    ) -> None:
        self._exchange = exchange
        self._authenticator = authenticator
        self._token_exchange = token_exchange
        self._acceptor = acceptor

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one exchange, which is recorded like any request."""
        request = self._acceptor.accept(read_scope(scope))
        outcome, response = await self._answer(request, receive)
        await reply(self._exchange.finish(request, outcome, response), send)

    async def _answer(self, request: RequestHead, receive: Receive) -> tuple[Authorized | Refused, Response]:
        if request.fault is not None:
            return _problem(request, Refused(request.fault))
        blocked_for = self._authenticator.blocked_for(request)
        if blocked_for is not None:
            return _problem(request, Refused(Reason.TOO_MANY_FAILURES, retry_after=blocked_for))
        content = await read_content(receive, MAXIMUM_CONTENT_BYTES)
        if content is None:
            return _refuse(TOO_LARGE)
        asked = parse_exchange(field_value(request.fields, b"content-type") or b"", content)
        if isinstance(asked, ExchangeRefused):
            return _refuse(asked)
        try:
            exchanged = await self._token_exchange.exchange(asked, request.host, request.client, request.id)
        except StoreUnavailable:
            return _problem(request, Refused(Reason.STORE_UNAVAILABLE, retry_after=STORE_RETRY_SECONDS))
        if isinstance(exchanged, ExchangeRefused):
            if exchanged.is_guess:
                self._authenticator.refuse(request, Refused(Reason.MALFORMED_CREDENTIALS))
            return _refuse(exchanged)
        return _grant(request, exchanged)


def _grant(request: RequestHead, exchanged: Exchanged) -> tuple[Authorized, Response]:
    record, rule = exchanged.record, build_rule(exchanged.policy, PATTERN, cost=0)
    asked = AdmissionRequest(rule, record.digest, address=request.client)
    facts = AdmissionFacts(
        asked, exchanged.now * 1000, record, is_revoked=False, is_charged=True, windows=(), stored_heads=()
    )
    expires_in = (record.expires_at or exchanged.now) - exchanged.now
    return Authorized(rule, facts), build_answer(ExchangeAnswer(exchanged.text, expires_in, record.scopes))


def _refuse(refused: ExchangeRefused) -> tuple[Refused, Response]:
    return Refused(Reason.EXCHANGE_REFUSED), build_answer(refused)


def _problem(request: RequestHead, refused: Refused) -> tuple[Refused, Response]:
    return refused, build_refused(request, refused)
