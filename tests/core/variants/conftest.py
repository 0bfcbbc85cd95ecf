"""What reads exports in builds, for the tests of a session."""

import pytest

from tests.support.consumers import Read, build_reader, install_consumers


@pytest.fixture(scope="session")
def consumers(pytestconfig: pytest.Config) -> Read:
    """What reads exports: the consumers' answers, by their names."""
    return build_reader(install_consumers(pytestconfig))
