"""What the tests of connections share."""

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture
async def nothing_is_left() -> AsyncIterator[None]:
    """Fails a test that leaves a task behind."""
    yield
    assert set() == asyncio.all_tasks() - {asyncio.current_task()}
