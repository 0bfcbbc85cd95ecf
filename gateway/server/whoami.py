"""`/-/whoami`: it tells the bearer of a token who the token is. Nothing is charged, and no use is recorded."""

import msgspec
from litestar.types import HTTPScope, Receive, Send

from gateway.adapters.admin_ports import Tokens
from gateway.adapters.ports import PolicySource
from gateway.core.admission.decision import AdmissionRequest, Authorized, Refused, decide
from gateway.core.admission.explanation import build_facts
from gateway.core.admission.outcomes import build_refused
from gateway.core.errors import StoreUnavailable
from gateway.core.http.messages import RequestHead, Response, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.tokens.text import token_id
from gateway.core.tokens.whoami import build_identity, candidate_rules
from gateway.pipeline.authenticator import Authenticator
from gateway.pipeline.exchange import STORE_RETRY_SECONDS, Exchange
from gateway.server.asgi import read_scope, reply
from gateway.server.requests import RequestAcceptor


class Whoami:
    """The ASGI application of the address."""

    def __init__(
        self,
        exchange: Exchange,
        authenticator: Authenticator,
        policies: PolicySource,
        tokens: Tokens,
        acceptor: RequestAcceptor,
    ) -> None:
        self._exchange = exchange
        self._authenticator = authenticator
        self._policies = policies
        self._tokens = tokens
        self._acceptor = acceptor

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one question with JSON, or with the refusal that any request would get."""
        request = self._acceptor.accept(read_scope(scope))
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
                inspection = await self._tokens.inspect(token_id(presented), rule, "", request.client)
            except StoreUnavailable:
                return Refused(Reason.STORE_UNAVAILABLE, rule, retry_after=STORE_RETRY_SECONDS)
            outcome, exists = Refused(Reason.UNKNOWN_TOKEN, rule), exists or inspection is not None
            if inspection and (inspection.record.digest, inspection.record.policy) == (presented, rule.policy.name):
                verdict = decide(build_facts(AdmissionRequest(rule, presented, address=request.client), inspection))
                if not isinstance(verdict, Refused):
                    return verdict
                outcome = verdict
                break
        return outcome if exists else self._authenticator.refuse(request, outcome)


def _build_answer(admission: Authorized) -> Response:
    record = admission.facts.record
    if record is None:
        raise ValueError("the question is no public rule")
    content = msgspec.json.encode(build_identity(admission, record))
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
    ]
    return Response(ResponseHead(200, fields), content)
