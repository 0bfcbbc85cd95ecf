"""Room for so many requests at once."""

import logging

import pytest

from gateway.server.listener import Capacity


def test_there_is_room_for_so_many_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """The last one that fits is served; the log says once that there is no room, and once that there is again."""
    caplog.set_level(logging.WARNING)
    capacity = Capacity(4)
    assert [True] * 4 + [False] * 2 == [capacity.has_room(number) for number in range(1, 7)]
    assert [True] * 3 == [capacity.has_room(number) for number in (4, 3, 2)]
    assert [
        "overloaded: 4 requests are in progress, more are refused",
        "no longer overloaded: 2 requests were refused",
    ] == caplog.messages
