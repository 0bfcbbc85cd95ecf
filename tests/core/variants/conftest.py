"""What reads exports in builds, for the tests of a session."""

import pytest

from tests.support.consumers import Read, fetch_consumers


@pytest.fixture(scope="session")
def consumers(pytestconfig: pytest.Config) -> Read:
    """What reads exports: the consumers' answers, by their names."""
    found = fetch_consumers(pytestconfig.cache.mkdir("consumers"))
    if isinstance(found, str):
        pytest.skip(found)
    return found
