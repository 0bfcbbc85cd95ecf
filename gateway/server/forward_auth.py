"""`authorize/`: other proxies ask if a request may pass. core/http/forward_auth.py says how each proxy asks.

This is the only place that believes what a peer says about the original request, and only if it is a trusted proxy.
"""

import logging
import math
from collections.abc import Callable

from gateway.core.errors import ClientGone
from gateway.core.http.client_address import is_trusted
from gateway.core.http.forward_auth import Lacking, find_proxy, read_original, translate
from gateway.core.http.messages import Response
from gateway.core.http.reasons import Reason
from gateway.core.own_addresses import AUTHORIZE, OwnAddresses
from gateway.pipeline.exchange import Exchange
from gateway.server.listener import RETRY_SECONDS
from gateway.server.requests import RawRequest, RequestAcceptor, RequestContent

QUIET_SECONDS = 60.0
"""Seconds between two log lines of one mistake: a misconfigured proxy makes it with every request."""

logger = logging.getLogger(__name__)


class ForwardAuth:
    """The server's side of `Exchange.check`. The content of a subrequest, if it has any, is not read."""

    def __init__(self, exchange: Exchange, acceptor: RequestAcceptor, own: OwnAddresses) -> None:
        self._address = f"{own.path(AUTHORIZE)}/"
        self._exchange = exchange
        self._acceptor = acceptor
        self._trusted = acceptor.trusted
        self._lacking = LackingLog(acceptor.clock)

    async def handle(self, raw: RawRequest, _: RequestContent | None, has_room: bool) -> Response:
        """Answer one subrequest in the way that the asking proxy understands."""
        exchange = self._exchange
        request = self._acceptor.accept(raw)
        found = find_proxy(raw.path.decode("latin-1").removeprefix(self._address))
        if found is None:
            return exchange.refuse(request, Reason.NO_MATCHING_RULE)
        proxy, rest = found
        if not is_trusted(raw.peer, self._trusted.networks):
            return translate(proxy, exchange.refuse(request, Reason.UNTRUSTED_PROXY))
        if not has_room:
            return translate(proxy, exchange.refuse(request, Reason.OVERLOADED, RETRY_SECONDS))
        original = request if request.fault else read_original(proxy, request, rest, self._trusted.field)
        if isinstance(original, Lacking):
            self._lacking.log(original.what, raw.peer, request.id)
            return translate(proxy, exchange.refuse(request, Reason.MISSING_ORIGINAL, lacking=original.what))
        if isinstance(original, Reason):
            return translate(proxy, exchange.refuse(request, original))
        try:
            return await exchange.check(original, proxy)
        except ClientGone:
            raise
        except Exception:
            logger.exception("request %s: internal error", request.id)
            return translate(proxy, exchange.refuse(original, Reason.INTERNAL_ERROR))


class LackingLog:
    """The log of what subrequests of proxies lack; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}
        """When each was logged last, and how often it has happened since."""

    def log(self, what: str, peer: str, request_id: str) -> None:
        """Log that a subrequest of the proxy at `peer` lacks `what`, at most once in QUIET_SECONDS."""
        now = self._clock()
        told_at, since = self._told.get(what, (-math.inf, 0))
        if 0 <= now - told_at < QUIET_SECONDS:
            self._told[what] = (told_at, since + 1)
            return
        more = f", and did {since:,} times since this was told last" if since else ""
        logger.warning("request %s: the proxy that asks lacks %s%s (%s)", request_id, what, more, peer)
        self._told[what] = (now, 0)
