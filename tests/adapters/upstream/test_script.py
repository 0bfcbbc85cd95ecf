"""The fake that stands for the backends in the exchange's tests."""

from collections.abc import AsyncIterator

import pytest

from gateway.adapters.ports import Upstreams
from gateway.adapters.upstream.pool import HttpUpstreams
from gateway.core.errors import UpstreamTimeout
from gateway.core.http.messages import Response, ResponseHead
from gateway.core.policies.model import Upstream
from tests.support.scripted_upstreams import ScriptedUpstreams, SentRequest

ADDRESS = Upstream(("http://backend",))


async def two_pieces() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"c"


async def test_answers_in_order() -> None:
    """Each request gets the next answer, which may be an error; what was sent is kept; then nothing is left."""
    answer = Response(ResponseHead(200, [(b"x-a", b"1")]), b"ok")
    scripted = ScriptedUpstreams([answer, UpstreamTimeout("silent")])
    assert await scripted.send(ADDRESS, "POST", "/a?b", [(b"x-b", b"2")], two_pieces()) is answer
    with pytest.raises(UpstreamTimeout):
        await scripted.send(ADDRESS, "GET", "/c", [], None)
    with pytest.raises(LookupError, match="no answer is left for GET /d"):
        await scripted.send(ADDRESS, "GET", "/d", [], None)
    assert scripted.sent == [
        SentRequest(ADDRESS, "POST", "/a?b", ((b"x-b", b"2"),), b"abc"),
        SentRequest(ADDRESS, "GET", "/c", (), None),
        SentRequest(ADDRESS, "GET", "/d", (), None),
    ]


def test_both_are_upstreams() -> None:
    """The fake and the real ones fit the same seam."""
    seam: list[Upstreams] = [ScriptedUpstreams([]), HttpUpstreams()]
    assert len(seam) == 2
