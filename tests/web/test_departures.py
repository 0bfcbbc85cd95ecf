"""Clients that leave while they wait."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from litestar.types import HTTPReceiveMessage, Receive

from gateway.web.departures import POLL_SECONDS, Departures
from tests.adapters.raw_backend import ManualClock, settle


class Client:
    """What uvicorn's `receive` is: an empty message, then the end of the connection once it has come."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.asked = 0

    async def receive(self) -> HTTPReceiveMessage:
        self.asked += 1
        if self.asked == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class Content:
    def __init__(self, *, is_complete: bool) -> None:
        self.is_complete = is_complete


class Room:
    """A request that waits for its backend; `ends` are those that came to their end in the context."""

    def __init__(self, content: Content | None = None) -> None:
        self.clock = ManualClock()
        self.departures = Departures(self.clock)
        self.client = Client()
        self.answer = asyncio.Event()
        self.ends: list[str] = []
        self._content = content

    async def request(self) -> None:
        task, has_left = self.departures.enter(cast(Receive, self.client.receive), self._content), False
        try:
            try:
                await self.answer.wait()
                self.ends.append("answered")
            finally:
                has_left = self.departures.leave(task)
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            if not has_left:
                raise
        self.ends.append("left" if has_left else "stayed")

    async def look(self) -> None:
        await settle()
        self.clock.advance(POLL_SECONDS)
        await settle()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


@pytest.mark.parametrize("content", [None, Content(is_complete=True)])
def test_a_client_that_leaves_cancels_its_request(content: Content | None) -> None:
    """Whether it leaves before it is looked for or later; the cancellation goes no further than the request."""

    async def work() -> None:
        for leaves_first in (True, False):
            room = Room(content)
            request = asyncio.create_task(room.request())
            if leaves_first:
                room.client.leaves.set()
            await room.look()
            room.client.leaves.set()
            await request
            assert ["cancelled", "left"] == room.ends
            assert 0 == request.cancelling()

    run(work)


def test_a_client_whose_content_is_still_read_is_left_alone() -> None:
    """Two who ask for messages would take them from each other; it is watched once it has sent all."""

    async def work() -> None:
        content = Content(is_complete=False)
        room = Room(content)
        request = asyncio.create_task(room.request())
        await room.look()
        assert 0 == room.client.asked
        content.is_complete = True
        room.client.leaves.set()
        await room.look()
        await request
        assert ["cancelled", "left"] == room.ends

    run(work)


def test_a_request_that_is_answered_at_once_costs_no_task() -> None:
    """Nobody asks for its messages, and nothing is left to wait for it."""

    async def work() -> None:
        room = Room()
        room.answer.set()
        await room.request()
        await room.look()
        assert (0, ["answered", "stayed"]) == (room.client.asked, room.ends)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    run(work)


def test_a_client_that_stays_gets_its_answer() -> None:
    """Being watched changes nothing, and ends with the request."""

    async def work() -> None:
        room = Room()
        request = asyncio.create_task(room.request())
        await room.look()
        room.answer.set()
        await request
        await settle()
        assert ["answered", "stayed"] == room.ends
        assert {asyncio.current_task()} == asyncio.all_tasks()

    run(work)


def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    """A server that stops cancels its requests: that is not mistaken for a client that left."""

    async def work() -> None:
        room = Room()
        request = asyncio.create_task(room.request())
        await room.look()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert ["cancelled"] == room.ends

    run(work)
