"""`/-/authorize/`: other proxies ask whether a request may pass. core/forward_auth.py says who asks how.

This is the one place where a peer's word for the original request is taken: a trusted proxy's, nobody else's.
"""

import logging
import math
from collections.abc import Callable

from gateway.core.addresses import TrustedProxies, is_trusted
from gateway.core.forward_auth import Lacking, find_proxy, read_original, translate
from gateway.core.messages import RequestHead, Response
from gateway.core.problems import build_refusal
from gateway.core.reasons import Reason
from gateway.exchange import Exchange
from gateway.web.capacity import refuse_overloaded
from gateway.web.receiving import Received, RequestContent, accept

QUIET_SECONDS = 60.0
"""A proxy that asks wrongly does so with every request: each mistake is told once in this time, and then how often."""

logger = logging.getLogger(__name__)


class ForwardAuth:
    """The web's side of `Exchange.check`. The subrequest's content, if it has any, is not read."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: TrustedProxies,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._new_id = new_id
        self._trusted = trusted
        self._lacking = LackingLog(clock)

    async def answer(self, received: Received, _: RequestContent | None, has_room: bool) -> Response:
        """One subrequest, answered in the way of the proxy that asks."""
        new_id = self._new_id()
        found = find_proxy(received.path.decode("latin-1"))
        if found is None:
            return build_refusal(Reason.NO_MATCHING_RULE, None, new_id)
        proxy, rest = found
        if not is_trusted(received.peer, self._trusted.networks):
            return translate(proxy, build_refusal(Reason.UNTRUSTED_PROXY, None, new_id))
        if not has_room:
            return translate(proxy, refuse_overloaded(new_id))
        request: RequestHead | Reason | Lacking = accept(
            received, self._clock(), new_id, self._trusted, self._exchange.masking
        )
        if isinstance(request, RequestHead):
            request = read_original(proxy, request, rest, self._trusted.field)
        if isinstance(request, Lacking):
            self._lacking.note(request.what, received.peer, new_id)
            return translate(proxy, build_refusal(Reason.MISSING_ORIGINAL, None, new_id, lacking=request.what))
        if isinstance(request, Reason):
            return translate(proxy, build_refusal(request, None, new_id))
        try:
            return await self._exchange.check(request, proxy)
        except Exception:
            logger.exception("request %s: the gateway made a mistake", request.id)
            return translate(proxy, self._exchange.give_up(request))


class LackingLog:
    """The log of what proxies lack that ask; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}
        """When each was told, and how often it has been lacking since."""

    def note(self, what: str, peer: str, request_id: str) -> None:
        """One subrequest of the proxy at `peer`, which lacks this."""
        now = self._clock()
        told_at, since = self._told.get(what, (-math.inf, 0))
        if 0 <= now - told_at < QUIET_SECONDS:
            self._told[what] = (told_at, since + 1)
            return
        more = f", and did {since:,} times since this was told last" if since else ""
        logger.warning("request %s: the proxy that asks lacks %s%s (%s)", request_id, what, more, peer)
        self._told[what] = (now, 0)
