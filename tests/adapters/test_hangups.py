"""A hangup ends nothing, and whoever wants to do something at it learns of each."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.adapters.logs.hangups import Hangups, held_back


@pytest.fixture
def hangups() -> Iterator[Hangups]:
    """Taken by this process, for the time of a test."""
    before = signal.getsignal(signal.SIGHUP)
    taken = Hangups()
    taken.take()
    yield taken
    signal.signal(signal.SIGHUP, before)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def test_all_who_want_to_are_told(hangups: Hangups) -> None:
    """Each time, until they no longer want to."""
    told: list[str] = []
    with ExitStack() as both:
        both.enter_context(hangups.at_each(lambda: told.append("a")))
        with hangups.at_each(lambda: told.append("b")):
            hang_up()
        hang_up()
    hang_up()
    assert ["a", "b", "a"] == told


def test_one_that_came_too_early_is_made_up_for(hangups: Hangups) -> None:
    """Whoever begins to listen after it is told at once, and once."""
    told: list[str] = []
    hang_up()
    hang_up()
    with hangups.at_each(lambda: told.append("a")):
        assert ["a"] == told


def test_one_that_is_held_back_comes_later(hangups: Hangups) -> None:
    """It waits, as it does in a process that is started meanwhile, and is not lost."""
    told: list[str] = []
    with hangups.at_each(lambda: told.append("a")):
        with held_back():
            signal.pthread_kill(threading.get_ident(), signal.SIGHUP)  # another thread may be there to take others
            assert [] == told
        assert ["a"] == told


async def test_what_follows_is_one_at_a_time(hangups: Hangups) -> None:
    """However many come meanwhile, it is done once more, and then what they are about is seen."""
    may_end, begun, done = asyncio.Event(), asyncio.Event(), []

    async def reload() -> None:
        begun.set()
        await may_end.wait()
        done.append(1)

    following = asyncio.create_task(hangups.follow(reload))
    await asyncio.sleep(0)
    hang_up()
    async with asyncio.timeout(10):
        await begun.wait()
        for _ in range(3):
            hang_up()
        begun.clear()
        may_end.set()
        await begun.wait()
        while len(done) < 2:
            await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert 2 == len(done)
