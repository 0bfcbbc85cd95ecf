"""Backends that answer what they were told to: `Upstreams` for tests and trials of the exchange."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec

from gateway.core.http.messages import Field, Inform, Response
from gateway.core.policies.model import Upstream
from gateway.core.recognition.lesson import Lesson


class SentRequest(msgspec.Struct, frozen=True):
    """What a backend was sent."""

    address: Upstream
    method: str
    target: str
    fields: tuple[Field, ...]
    content: bytes | None


class ScriptedUpstreams:
    """Gives `answers` in their order, raising those that are exceptions; `sent` is what it was asked.

    Interim answers stand before the one that they come before.

    The request's content is read to its end first; what it raises comes out of `send`, as with real backends.
    """

    def __init__(self, answers: Iterable[Response | Exception]) -> None:
        self.sent: list[SentRequest] = []
        self._answers = deque(answers)

    async def send(
        self,
        address: Upstream,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        inform: Inform | None = None,
        lesson: Lesson | None = None,
    ) -> Response:
        """The next answer; raises LookupError when there is none."""
        whole = None if content is None else b"".join([piece async for piece in content])
        self.sent.append(SentRequest(address, method, target, tuple(fields), whole))
        if not self._answers:
            raise LookupError(f"no answer is left for {method} {target}")
        answer = self._answers.popleft()
        while isinstance(answer, Response) and answer.head.status < 200:
            if inform is not None:
                inform(answer.head)
            answer = self._answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer
