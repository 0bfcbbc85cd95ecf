"""Policy files as one set that is swapped whole."""

import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import watchfiles

from gateway.adapters.policy_files import SWITCH_SECONDS, PolicyFiles
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
    assert {"small", "other"} == set(files.current.policies)
    assert () == files.mistakes


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


def test_only_what_a_load_would_read_is_a_change(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file beside the policies, and one that is written as it was, do nothing and are not told of."""
    files = PolicyFiles(folder, {})
    good = files.current
    with caplog.at_level(logging.INFO):
        (folder / "app.log").write_text("policies loaded")
        (folder / "small.toml").write_text(SMALL)
        assert not files.reload()
        assert good == files.current
        assert [] == caplog.messages
        (folder / "small.toml").write_text(SMALL + "# new\n")
        assert files.reload()
        (folder / "small.toml").rename(folder / "renamed.toml")  # mistakes name the file
        assert files.reload()
        assert not files.reload()
        assert 2 == len(caplog.messages)


@pytest.mark.parametrize(
    "name", [".#small.toml", "._small.toml", ".small.toml", "#small.toml", "~small.toml", "small~.toml"]
)
def test_hidden_files_and_those_of_editors_are_no_policies(folder: Path, name: str) -> None:
    """A lock (a link to nowhere) or a backup beside a policy neither ends a start nor counts as a change."""
    files = PolicyFiles(folder, {})
    (folder / name).symlink_to("me@host.example:4711")
    assert not files.reload()
    (folder / name).unlink()
    (folder / name).write_text(SMALL)
    assert {"small"} == set(PolicyFiles(folder, {}).current.policies)
    assert not files.reload()


def test_a_folder_with_nothing_but_locks_has_no_policies(tmp_path: Path) -> None:
    """It is said as of an empty folder."""
    (tmp_path / ".#small.toml").symlink_to("me@host.example:4711")
    with pytest.raises(ConfigurationError, match="no policy files"):
        PolicyFiles(tmp_path, {})


@pytest.mark.parametrize("broken", [b"name = ", b"\xff", None])
def test_a_mistake_is_told_of_once(folder: Path, caplog: pytest.LogCaptureFixture, broken: bytes | None) -> None:
    """Until the file is another one; the mistakes stay to be seen, and the end of a mistake is seen."""
    files = PolicyFiles(folder, {})
    file = folder / "small.toml"
    if broken is None:
        file.unlink()
    else:
        file.write_bytes(broken)
    assert files.reload()
    assert not files.reload()
    assert 1 == len(caplog.messages)
    assert 1 == len(files.mistakes)
    file.write_text("otherwise = ")
    assert files.reload()
    assert not files.reload()
    assert 2 == len(caplog.messages)
    file.write_text(SMALL)
    assert files.reload()
    assert [] == list(files.mistakes)


async def test_a_reload_that_fails_is_not_the_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody has thought of is logged, and the next change of the files is seen."""
    files = PolicyFiles(folder, {})
    with monkeypatch.context() as patched:
        patched.setattr(files, "reload", lambda **_: 1 // 0)
        assert not await files.reload_beside()
    assert ["policies unchanged: internal error while reading them"] == caplog.messages
    assert await files.reload_beside(is_asked_for=True)


def test_a_reload_that_is_asked_for_is_answered(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what came of it, also where nothing has changed since the last one, good or bad."""
    caplog.set_level(logging.INFO)
    files = PolicyFiles(folder, {})
    assert files.reload(is_asked_for=True)
    (file,) = folder.glob("*.toml")
    file.write_text("name = ")
    assert files.reload()
    assert not files.reload()
    assert files.reload(is_asked_for=True)
    said = [message.splitlines()[0].partition(" from ")[0] for message in caplog.messages]
    assert ["policies loaded", *["policies unchanged, the files have mistakes:"] * 2] == said


async def test_a_reload_leaves_the_interpreter_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs in its thread, threads take turns more often; afterwards as before."""
    usual, during = sys.getswitchinterval(), list[float]()
    files = PolicyFiles(folder, {})

    def reload(*, is_asked_for: bool) -> bool:
        during.append(sys.getswitchinterval())
        return True

    monkeypatch.setattr(files, "reload", reload)
    assert await files.reload_beside()
    assert SWITCH_SECONDS == pytest.approx(during[0], abs=1e-6)
    assert usual == sys.getswitchinterval()


def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes renews a ConfigMap: the files are links through one that is swapped."""
    for name, text in (("..1", SMALL), ("..2", SMALL.replace('"5/minute"', '"6/minute"'))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "small.toml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "small.toml").symlink_to("..data/small.toml")
    files = PolicyFiles(tmp_path, {})
    before = files.current
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert files.reload()
    assert not files.reload()
    assert before is not files.current


def test_files_that_a_policy_names_are_part_of_it(folder: Path) -> None:
    """A mistake over a file of its TLS ends when that file is there, without a change of the policy."""
    (folder / "tls").mkdir()
    files = PolicyFiles(folder, {})
    table = f'[upstream]\nurl = "https://127.0.0.1:1"\ntls = {{ ca = "{folder}/tls/ca.pem" }}\n[token]'
    text = SMALL.replace('upstream = "http://127.0.0.1:9001"\n', "").replace("[token]", table)
    (folder / "small.toml").write_text(text)
    assert files.reload()
    assert not files.reload()
    assert "ca.pem: No such file" in files.mistakes[0]
    (folder / "tls" / "ca.pem").write_text("no certificate")
    assert files.reload()
    assert not files.reload()
    assert "ca.pem: No such file" not in files.mistakes[0]


async def test_a_log_beside_the_policies_does_not_reload_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told of a reload while the events below the folder change no policy."""

    async def events(*_: object, **__: object) -> AsyncIterator[None]:
        for change in (None, SMALL + "# new\n", None, None, SMALL):
            if change is not None:
                (folder / "small.toml").write_text(change)
            with (folder / "app.log").open("a") as log:
                log.write("policies loaded\n")
            yield

    monkeypatch.setattr(watchfiles, "awatch", events)
    reloads: list[int] = []
    files = PolicyFiles(folder, {})
    await files.watch(lambda: reloads.append(len(files.current.policies)))
    assert [1, 1] == reloads
