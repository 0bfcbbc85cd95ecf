"""Policy files as one set that is swapped whole."""

from pathlib import Path

import pytest

from gateway.adapters.policy_files import PolicyFiles
from gateway.core.errors import ConfigurationError
from tests.support.policies import SMALL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the small policy."""
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def test_a_reload_takes_all_files_or_none(folder: Path) -> None:
    """A mistake in one file keeps the whole last good set, its end brings the new one."""
    files = PolicyFiles(folder, {})
    good = files.current
    (folder / "other.toml").write_text(SMALL.replace('"small"', '"other"').replace("[token]", "[tokens]"))
    files.reload()
    assert good is files.current
    assert any("unknown key 'tokens'" in mistake for mistake in files.mistakes)
    (folder / "other.toml").write_text('hosts = ["b.example"]\n' + SMALL.replace('"small"', '"other"'))
    files.reload()
    assert ({"small", "other"}, ()) == (set(files.current.policies), files.mistakes)


def test_a_set_whose_own_tests_fail_is_not_served(folder: Path) -> None:
    """A file's tests are part of its check."""
    files = PolicyFiles(folder, {})
    good = files.current
    (folder / "small.toml").write_text(SMALL + '[[tests]]\nrequest = "GET /export"\nexpect = 403\n')
    files.reload()
    assert good is files.current
    assert len(files.mistakes) == 1


def test_files_that_vanish_leave_the_last_good_set(folder: Path) -> None:
    """An empty folder is a mistake, not an empty set."""
    files = PolicyFiles(folder, {})
    (folder / "small.toml").unlink()
    files.reload()
    assert {"small"} == set(files.current.policies)
    assert "no policy files" in files.mistakes[0]


def test_backends_are_replaced_by_name(folder: Path) -> None:
    """A backend named on the command line stands in the place of the file's, also after a reload."""
    files = PolicyFiles(folder, {"small": "http://127.0.0.1:9/base"})
    files.reload()
    assert "http://127.0.0.1:9/base" == files.current.policies["small"].upstream.targets[0]


def test_a_start_needs_a_good_set(folder: Path) -> None:
    """Without a set to fall back on, mistakes end the start."""
    (folder / "small.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        PolicyFiles(folder, {})
