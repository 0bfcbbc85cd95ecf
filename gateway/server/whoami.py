"""`/-/whoami`: it tells the bearer of a token who the token is. Nothing is charged, and no use is recorded."""

from collections.abc import Callable

import msgspec
from litestar.types import HTTPScope, Receive, Send

from gateway.adapters.admin_ports import Tokens
from gateway.adapters.ports import PolicySource
from gateway.core.admission.decision import Deny, decide
from gateway.core.admission.explanation import build_facts
from gateway.core.admission.outcomes import Authorized, Refused, build_refused, refuse
from gateway.core.errors import StoreUnavailable
from gateway.core.http.client_address import TrustedProxies
from gateway.core.http.messages import RequestHead, Response, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.tokens.text import token_id
from gateway.core.tokens.whoami import build_identity, candidate_rules
from gateway.pipeline.authenticator import Authenticator
from gateway.pipeline.exchange import STORE_RETRY_SECONDS, Exchange
from gateway.server.asgi import read_scope, reply
from gateway.server.requests import accept


class Whoami:
    """The ASGI application of the address."""

    def __init__(
        self,
        exchange: Exchange,
        authenticator: Authenticator,
        policies: PolicySource,
        tokens: Tokens,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: TrustedProxies,
    ) -> None:
        self._exchange = exchange
        self._authenticator = authenticator
        self._policies = policies
        self._tokens = tokens
        self._clock = clock
        self._new_id = new_id
        self._trusted = trusted

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one question with JSON, or with the refusal that any request would get."""
        request = accept(read_scope(scope), self._clock(), self._new_id(), self._trusted, self._exchange.masking)
        outcome = Refused(request.fault) if request.fault else await self._identify(request)
        response = build_refused(request, outcome) if isinstance(outcome, Refused) else _build_answer(outcome)
        await reply(self._exchange.finish(request, outcome, response), send)

    async def _identify(self, request: RequestHead) -> Authorized | Refused:
        """Find whose token it is. If several policies accept its format, take the one that it was minted for."""
        outcome, exists = Refused(Reason.NO_MATCHING_RULE), False
        for rule in candidate_rules(self._policies.current, request):
            presented = self._authenticator.authenticate(request, rule)
            if isinstance(presented, Refused):
                return presented
            try:
                standing = await self._tokens.standing(token_id(presented), rule, "", request.client)
            except StoreUnavailable:
                return Refused(Reason.STORE_UNAVAILABLE, rule, retry_after=STORE_RETRY_SECONDS)
            outcome, exists = Refused(Reason.UNKNOWN_TOKEN, rule), exists or standing is not None
            if standing and (standing.record.digest, standing.record.policy) == (presented, rule.policy.name):
                verdict = decide(rule, build_facts(rule, standing))
                if not isinstance(verdict, Deny):
                    return Authorized(rule, verdict.record, verdict.facts)
                outcome = refuse(rule, verdict)
                break
        return outcome if exists else self._authenticator.refuse(request, outcome)


def _build_answer(admission: Authorized) -> Response:
    if admission.record is None:
        raise ValueError("the question is no public rule")
    content = msgspec.json.encode(build_identity(admission, admission.record))
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
    ]
    return Response(ResponseHead(200, fields), content)
