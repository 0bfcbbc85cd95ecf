"""The markers by which `make test-fast` and `make test` choose tests: given by tests/conftest.py, and true."""

import sys
from pathlib import Path

import pytest

from tests.conftest import kinds_of
from tests.support.processes import Process

KINDS = {"unit", "redis", "system", "browser", "proxies"}


@pytest.mark.parametrize(
    ("path", "fixtures", "own", "expected"),
    [
        ("tests/core/test_scopes.py", [], [], {"unit"}),
        ("tests/adapters/test_redis_tokens.py", ["store_url", "request"], [], {"unit"}),
        ("tests/adapters/test_redis_tokens.py", ["store_url", "request"], ["redis", "parametrize"], {"redis"}),
        ("tests/cli/test_audit.py", ["redis_url", "redis_server", "redis_executable"], [], {"redis"}),
        ("tests/system/test_hostile_bytes.py", [], [], {"system"}),
        ("tests/system/test_quotas.py", ["share", "redis_executable"], [], {"system", "redis"}),
        ("tests/contracts/pages/test_use.py", ["browser", "redis_executable"], [], {"system", "redis", "browser"}),
        ("tests/system/test_forward_auth.py", ["proxy_kind", "redis_executable"], [], {"system", "redis", "proxies"}),
        ("tests/web/test_metrics.py", ["backend_port"], ["alone"], {"system"}),
    ],
)
def test_a_test_is_marked_by_its_folder_and_its_fixtures(
    path: str, fixtures: list[str], own: list[str], expected: set[str]
) -> None:
    """Whoever writes a test does not have to think of it."""
    assert expected == kinds_of(path, fixtures, own)


def test_every_test_is_a_unit_test_or_says_what_it_needs(request: pytest.FixtureRequest) -> None:
    """Each has a marker, and none is marked unit beside another one."""
    kinds = {item.nodeid: KINDS & {mark.name for mark in item.iter_markers()} for item in request.session.items}
    assert [] == [name for name, own in kinds.items() if not own or ("unit" in own and len(own) > 1)]


def test_a_unit_test_starts_no_server(tmp_path: Path) -> None:
    """It fails at the attempt, as this one would."""
    with pytest.raises(AssertionError, match=r"test_a_unit_test_starts_no_server is marked unit and starts "):
        Process([sys.executable, "-c", ""], tmp_path / "log")
