"""Stores under test: the embedded one and a real Redis, with the same guarantees."""

import pytest

from gateway.adapters.redis_connection import EMBEDDED


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.redis)])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "embedded":
        return EMBEDDED
    url: str = request.getfixturevalue("redis_url")
    return url
