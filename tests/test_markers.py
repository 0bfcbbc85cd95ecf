"""Which tests run: the markers that tests/conftest.py gives them, and what happens where a program is missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import kinds_of
from tests.support.processes import Process
from tests.support.programs import LEFT_OUT, find_program

KINDS = {"unit", "redis", "system", "browser", "proxies", "backends"}


@pytest.mark.parametrize(
    ("path", "fixtures", "own", "expected"),
    [
        ("tests/core/test_scopes.py", [], [], {"unit"}),
        ("tests/adapters/redis/test_tokens.py", ["store_url", "request"], [], {"unit"}),
        ("tests/adapters/redis/test_tokens.py", ["store_url", "request"], ["redis", "parametrize"], {"redis"}),
        ("tests/cli/test_audit.py", ["redis_url", "redis_server", "redis_executable"], [], {"redis"}),
        ("tests/system/test_hostile_bytes.py", [], [], {"system"}),
        ("tests/system/test_quotas.py", ["share", "redis_executable"], [], {"system", "redis"}),
        ("tests/contracts/pages/test_use.py", ["browser", "redis_executable"], [], {"system", "redis", "browser"}),
        ("tests/system/test_forward_auth.py", ["proxy_kind", "redis_executable"], [], {"system", "redis", "proxies"}),
        ("tests/system/test_real_backends.py", ["real_backend"], [], {"system", "backends"}),
        ("tests/server/test_metrics.py", ["backend_port"], ["parametrize"], {"system"}),
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


def test_tests_that_are_left_out_are_listed_and_counted() -> None:
    """At the end, by their files, with the program that they need; they are not passed over in silence."""
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cli/test_audit.py"]
    environment = {**os.environ, "PATH": "/nowhere", LEFT_OUT: " redis-server chromium"}
    done = subprocess.run(own, env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout
    found = re.search(r"LEFT OUT: (\d+) tests: needs redis-server =+\ntests/cli/test_audit\.py: (\d+)\n", done.stdout)
    assert found is not None, done.stdout
    assert found[1] == found[2] != "0"
    assert f"{found[1]} skipped" in done.stdout


def test_a_missing_program_fails_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is left out by name: nobody takes tests for passed that have not run."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv(LEFT_OUT, "nginx")
    with pytest.raises(pytest.fail.Exception, match=r"needs redis-server on the PATH.* set GATEWAY_TEST_WITHOUT=redis"):
        find_program("redis-server")
    with pytest.raises(pytest.skip.Exception, match="needs nginx"):
        find_program("nginx")
