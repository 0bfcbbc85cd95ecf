"""Options that the tests of importing files share."""

from pathlib import Path

import pytest

from tests.support.policies import SMALL


@pytest.fixture
def where(redis_url: str, tmp_path: Path) -> tuple[str, ...]:
    """Options that name an empty Redis and the small policy."""
    (tmp_path / "small.toml").write_text(SMALL)
    return ("--redis", redis_url, "--policies", str(tmp_path))
