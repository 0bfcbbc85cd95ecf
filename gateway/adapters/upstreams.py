"""The backends: policies' upstreams with their targets. One that is in no policy any more is forgotten.

A request goes to the target with the fewest under way, and to another one if no target can have acted upon it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple

import msgspec

from gateway.adapters.clock import Clock
from gateway.adapters.upstream_health import HealthChecks
from gateway.adapters.upstream_request import Framing, Limits, begin, frame, limits_of, without_times
from gateway.adapters.upstream_target import Target
from gateway.adapters.upstream_tls import TlsContexts
from gateway.core import balancing
from gateway.core.errors import UpstreamError, UpstreamUnreachable
from gateway.core.forwarding import edit_fields, rewrite_target
from gateway.core.messages import Field, Inform, Response, ResponseHead
from gateway.core.policies.upstream import FieldEdits, Upstream


class HttpUpstreams:
    """See protocols.Upstreams. `clock` measures time-outs; without it, the event loop does."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._contexts = TlsContexts()
        self._ways: dict[Upstream, Way] = {}
        """By what rules say of their backend."""
        self._groups: dict[Upstream, Group] = {}
        """By the same without times: rules that only differ in these share connections and what is known of health."""
        self._targets: dict[Upstream, Target] = {}
        """By what makes a connection: the upstream with this one target. Policies that say the same share them."""
        self._checks: dict[Upstream, HealthChecks] = {}

    async def send(
        self,
        address: Upstream,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        inform: Inform | None = None,
    ) -> Response:
        """The backend's answer as it arrives. Content that is a stream is a `ResponseContent`.

        Host is among `fields` unless the target's own is meant.

        `content` is as long as a Content-Length among `fields` says, or it breaks off. What it raises comes out here,
        or where the response's content is read. It is not closed here. With Upgrade among `fields` it is what the
        client sends after the answer 101, whose content is what the backend sends then.
        """
        group, limits = self._ways.get(address) or self._find_way(address)
        if address.request_edits is not None:
            fields = edit_fields(fields, address.request_edits)
        if address.rewrite is not None:
            target = rewrite_target(target, address.rewrite)
        fields, content, framing = frame(fields, content)
        if framing is Framing.CHUNKED and content is not None:
            content = await begin(content)
        edits = address.response_edits
        if edits is None:
            return await group.send(method, target, fields, content, framing, limits, inform)
        if inform is not None:
            inform = _editing(inform, edits)
        response = await group.send(method, target, fields, content, framing, limits, inform)
        return Response(_edit(response.head, edits), response.content)

    def keep(self, upstreams: Iterable[Upstream]) -> None:
        """Gets ready for these, and begins their health checks; forgets all others, but for requests under way."""
        present = {without_times(address) for address in upstreams}
        self._ways.clear()
        for address in present:
            if address not in self._groups:
                self._add(address)
        self._groups = {address: group for address, group in self._groups.items() if address in present}
        wanted = {one for address in present for one in _single(address)}
        for one in self._targets.keys() - wanted:
            self._targets.pop(one).retire()
            self._checks.pop(one).close() if one in self._checks else None
        for one in wanted - self._checks.keys():
            if one.health is not None:
                self._checks[one] = HealthChecks(self._targets[one], one.health, self._clock_in_use())

    async def close(self) -> None:
        """Ends health checks and closes the idle connections."""
        self.keep(())
        await asyncio.sleep(0)  # the event loop lets go of them in its next round

    def _find_way(self, address: Upstream) -> "Way":
        shared = without_times(address)
        way = self._ways[address] = Way(self._groups.get(shared) or self._add(shared), limits_of(address))
        return way

    def _add(self, address: Upstream) -> "Group":
        for one in _single(address):
            if one not in self._targets:
                self._targets[one] = Target(one, self._contexts, self._clock_in_use())
        group = Group([self._targets[one] for one in _single(address)], address.retries, self._clock_in_use())
        self._groups[address] = group
        return group

    def _clock_in_use(self) -> Clock:
        return self._clock or asyncio.get_running_loop()


class Group:
    """Targets that answer alike."""

    def __init__(self, targets: list[Target], retries: int, clock: Clock) -> None:
        self._targets = targets
        self._retries = retries
        self._clock = clock
        self._turn = 0
        self._breaker = balancing.CLOSED

    async def send(
        self,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        framing: Framing,
        limits: Limits,
        inform: Inform | None,
    ) -> Response:
        """The answer of one of them; raises the UpstreamError of the last that was tried."""
        left = self._targets
        if not left:
            raise UpstreamUnreachable("the policy has no backend")
        if self._breaker is not balancing.CLOSED:
            self._try_again()
        while True:
            chosen = left[0] if len(left) == 1 else self._choose(left)
            try:
                response = await chosen.send(method, target, fields, content, framing, limits, inform)
            except UpstreamError as error:
                chosen.note_failure(error)
                self._note_attempt(error)
                left = [other for other in left if other is not chosen]
                tried = len(self._targets) - len(left)
                may_repeat = balancing.may_repeat(error, method, has_content=content is not None)
                if not left or tried > self._retries or not may_repeat:
                    raise
            else:
                if chosen.health is not balancing.WELL or chosen.failures.cause is not None:
                    chosen.note_answer()
                    self._note_attempt(None)
                return response

    def _try_again(self) -> None:
        """Lets one request after the other try a lone target that has refused, and refuses the rest."""
        now = self._clock.time()
        if not balancing.may_try(self._breaker, now):
            (target,) = self._targets
            raise UpstreamUnreachable(f"{target.url} could not be reached a moment ago", cause=target.failures.cause)
        self._breaker = balancing.while_trying(self._breaker, now)

    def _note_attempt(self, error: UpstreamError | None) -> None:
        if len(self._targets) == 1:
            self._breaker = balancing.after_attempt(self._breaker, error, self._clock.time())

    def _choose(self, left: list[Target]) -> Target:
        self._turn += 1
        return left[balancing.choose(left, self._clock.time(), self._turn)]


class Way(NamedTuple):
    """To whom a rule's requests go, and how long their answers may take."""

    group: Group
    limits: Limits


def _edit(head: ResponseHead, edits: FieldEdits) -> ResponseHead:
    return ResponseHead(head.status, edit_fields(head.fields, edits))


def _editing(inform: Inform, edits: FieldEdits) -> Inform:
    return lambda head: inform(_edit(head, edits))


def _single(address: Upstream) -> list[Upstream]:
    """The upstream with each of its targets alone."""
    return [msgspec.structs.replace(address, targets=(target,)) for target in address.targets]
