"""How far a request is from its answer: what a reader has to follow, and a worker to call."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.calls import count_hit

MAXIMUM_CALLS, MAXIMUM_FILES = 100, 25
MAXIMUM_RECOGNISED_CALLS, MAXIMUM_RECOGNISED_FILES = 40, 13


@pytest.mark.redis
def test_a_cached_hit_is_a_short_way(redis_url: str, tmp_path: Path) -> None:
    """From its bytes to those of its answer a hit makes few calls of the gateway's functions, in few files.

    Whoever adds one on every request's way takes another off it, or has a reason to raise the bound.
    """
    names = asyncio.run(count_hit(tmp_path, redis_url, has_access_log=False))
    assert names[0] == "server/connection.py:Connection.data_received"
    assert "pipeline/cache.py:ExportCache._reuse" in names
    assert len(names) <= MAXIMUM_CALLS, "\n".join(names)
    assert len({name.partition(":")[0] for name in names}) <= MAXIMUM_FILES, "\n".join(names)


@pytest.mark.redis
def test_a_recognised_hit_is_a_shorter_way(redis_url: str, tmp_path: Path) -> None:
    """What CI jobs send again and again, as a default installation answers it: with an access log."""
    names = asyncio.run(count_hit(tmp_path, redis_url, has_access_log=True, is_recognised=True))
    assert "pipeline/recognition.py:Recognition.conclude" in names
    assert len(names) <= MAXIMUM_RECOGNISED_CALLS, "\n".join(names)
    assert len({name.partition(":")[0] for name in names}) <= MAXIMUM_RECOGNISED_FILES, "\n".join(names)
