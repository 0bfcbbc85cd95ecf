"""Room for so many requests at once."""

import logging

import pytest

from gateway.web.capacity import Capacity


def test_there_is_room_for_so_many_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """The last one that fits is served; the log says once that there is no room, and once that there is again."""
    caplog.set_level(logging.WARNING)
    capacity = Capacity(4)
    found = []
    for _ in range(6):
        capacity.begin()
        found.append(capacity.is_exceeded())
    assert [False] * 4 + [True] * 2 == found
    for _ in range(3):
        capacity.end()
    capacity.begin()
    assert not capacity.is_exceeded()
    for _ in range(4):
        capacity.end()
    assert [
        "overloaded: 4 requests are in progress, more are refused",
        "no longer overloaded: 2 requests were refused",
    ] == caplog.messages
