"""The example backend in this process, with a clock that stands."""

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.demo.backend.api import create_backend
from tests.demo.examples import NOW


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    with TestClient(create_backend(now=lambda: NOW)) as client:
        yield client
