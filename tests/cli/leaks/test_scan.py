"""`gateway token scan`: files, archives, git history; what the store says of what is found."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.adapters import leak_sources
from gateway.cli.main import commands
from gateway.core.tokens.text import TokenFormat, mint, random_bytes_needed
from tests.support.command_line import CREATE, run_command, run_json
from tests.support.policies import SMALL
from tests.support.programs import find_program

FORMAT = TokenFormat(("sml_",), 40, checksum=True, shown=12)


def token(number: int) -> str:
    return mint(FORMAT, number.to_bytes(4, "big") * random_bytes_needed(FORMAT))


def broken(number: int) -> str:
    text = token(number)
    return text[:-1] + ("0" if text[-1] != "0" else "1")


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "small.toml").write_text(SMALL)
    return folder


def scan(place: Path | str, policies: Path, *words: str, stdin: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
    """Return the exit code, what was found, and what was said on standard error."""
    command = ["token", "scan", str(place), "--policies", str(policies), "--json", *words]
    result = CliRunner().invoke(commands, command, input=stdin)
    assert result.exit_code in (0, 1), f"{result.output}{result.exception!r}"
    return result.exit_code, json.loads(result.stdout), result.stderr


def places(found: list[dict[str, Any]]) -> list[str]:
    return sorted(place for one in found for place in one["places"])


def test_files_are_read_with_the_line_of_what_is_found(tmp_path: Path, policies: Path) -> None:
    """In a folder and below it; the exit code is 1, and no text is printed."""
    folder = tmp_path / "tree"
    (folder / "deep" / ".git").mkdir(parents=True)
    (folder / "a.txt").write_text(f"one\ntwo {token(1)}\n{token(1)} {broken(2)}\n")
    (folder / "deep" / "b.bin").write_bytes(b"\xff\0" + token(2).encode() + b"\0")
    (folder / "deep" / ".git" / "config").write_text(token(3))
    (folder / "utf-16.txt").write_bytes(f"\n{token(4)}".encode("utf-16"))
    (folder / "link").symlink_to(folder / "a.txt")
    code, found, _ = scan(folder, policies, "--offline")
    assert 1 == code
    expected = ["a.txt:2", "a.txt:3", "deep/b.bin:1", "utf-16.txt:2"]
    assert [f"{folder}/{place}" for place in expected] == places(found)
    assert token(1)[:12] in {one["shown"] for one in found}
    assert not any(token(number) in json.dumps(found) for number in range(1, 5))


def test_nothing_found_is_0(tmp_path: Path, policies: Path) -> None:
    """And a file that cannot be read is told of."""
    (tmp_path / "a.txt").write_text(broken(1))
    assert (0, []) == scan(tmp_path / "a.txt", policies, "--offline")[:2]
    assert "missing: not read: No such file" in scan(tmp_path / "missing", policies, "--offline")[2]


def test_standard_input_is_read(policies: Path) -> None:
    """As a log is piped."""
    code, found, _ = scan("-", policies, "--offline", stdin=f"a\nb {token(1)}".encode())
    assert (1, ["standard input:2"]) == (code, places(found))


def test_a_token_on_the_border_of_two_windows_is_found_once(
    tmp_path: Path, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are read in parts that overlap; the line is that of the file."""
    monkeypatch.setattr(leak_sources, "WINDOW", 100)
    for start in range(50, 110, 7):
        (tmp_path / "a.txt").write_text("\n" * start + token(1) + "\n" * 300 + token(2))
        found = scan(tmp_path / "a.txt", policies, "--offline")[1]
        assert sorted([f"{tmp_path}/a.txt:{start + 1}", f"{tmp_path}/a.txt:{start + 301}"]) == places(found)


def build_zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return file.getvalue()


def build_tar(mode: str, **members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


ARCHIVES = {
    "zip": (build_zip(a_txt=b"\n" + token(1).encode()), "!a.txt:2"),
    "tar": (build_tar("", a_txt=token(1).encode()), "!a.txt:1"),
    "tar.gz": (build_tar("gz", a_txt=token(1).encode()), "!a.txt:1"),
    "tar.xz": (build_tar("xz", a_txt=token(1).encode()), "!a.txt:1"),
    "gz": (gzip.compress(token(1).encode()), ":1"),
    "bz2": (bz2.compress(token(1).encode()), ":1"),
    "xz": (lzma.compress(token(1).encode()), ":1"),
    "nested": (
        build_zip(in_zip=build_tar("gz", deep_zip=build_zip(a_txt=token(1).encode()))),
        "!in.zip!deep.zip!a.txt:1",
    ),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_are_read_by_what_they_are(tmp_path: Path, policies: Path, kind: str) -> None:
    """Not by their names; also archives in archives."""
    content, place = ARCHIVES[kind]
    (tmp_path / "file").write_bytes(content)
    code, found, said = scan(tmp_path / "file", policies, "--offline")
    assert (1, [f"{tmp_path}/file{place}"], "") == (code, places(found), said)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_damaged_archive_is_told_of(tmp_path: Path, policies: Path, kind: str) -> None:
    """Whatever is wrong with it: the scan goes on with other files."""
    content, _ = ARCHIVES[kind]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(content[: len(content) // 2])
    (tmp_path / "files" / "b").write_text(token(2))
    _, found, said = scan(tmp_path / "files", policies, "--offline")
    assert f"{tmp_path}/files/b:1" in places(found)
    assert "files/a: not read to its end" in said or kind == "tar"


def test_a_bomb_is_not_read_to_its_end(tmp_path: Path, policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of one file has a bound, over all archives in it."""
    monkeypatch.setattr(leak_sources, "MAXIMUM_INFLATED", 1 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(40 << 20) + token(1).encode()))
    code, found, said = scan(tmp_path / "bomb.gz", policies, "--offline")
    assert (0, []) == (code, found)
    assert "bomb.gz: not read to its end: more than" in said


class Repository:
    """A git repository of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._git = find_program("git")
        self.run("init", "-q", "-b", "main", str(folder), at=folder.parent)

    def run(self, *words: str, at: Path | None = None) -> str:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        command = [self._git, *identity, *words]
        return subprocess.run(command, cwd=at or self.folder, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, name: str, content: bytes, message: str = "change", *options: str) -> str:
        (self.folder / name).write_bytes(content)
        self.run("add", ".")
        self.run("commit", "-q", "-m", message, *options)
        return self.run("rev-parse", "--short=12", "HEAD")


@pytest.mark.system
def test_twenty_tokens_in_a_history_are_found_and_nothing_else(tmp_path: Path, policies: Path) -> None:
    """In packs and loose, deleted, amended away, in messages, tags, archives and UTF-16; each with its commit."""
    repository = Repository(tmp_path / "repository")
    commits = [
        repository.commit("a.env", f"KEY={token(number)}\nOTHER={broken(number)}\n".encode(), f"key {number}")
        for number in range(1, 11)
    ]
    repository.run("gc", "-q")
    last = repository.commit(
        "b.zip", build_zip(**{f"f{number}_txt": token(number).encode() for number in (11, 12, 13)})
    )
    repository.commit("c.txt", token(14).encode("utf-16"))
    repository.commit("d.txt", b"nothing", f"a message with {token(15)}")
    repository.run("tag", "-a", "v1", "-m", f"a tag with {token(16)}")
    repository.commit("e.txt", f"{token(17)} {token(18)}".encode(), "to be amended")
    repository.commit("e.txt", b"better", "amended", "--amend")
    repository.run("checkout", "-q", "-b", "side")
    repository.commit("f.txt", token(19).encode())
    repository.run("checkout", "-q", "main")
    repository.run("rm", "-q", "a.env", "b.zip", "c.txt")
    repository.commit(f"{token(20)}.txt", b"a name with a token")
    code, found, said = scan(repository.folder, policies, "--git", "--offline")
    assert (1, "") == (code, said)
    assert {token(number)[:12] for number in range(1, 21)} == {one["shown"] for one in found}
    assert 20 == len(found)
    assert {f"{commits[0]}:a.env", f"{last}:b.zip!f11.txt"} <= set(places(found))
    assert 1 == len({place for place in places(found) if place.startswith("blob ")})  # amended away


@pytest.mark.system
def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path, policies: Path) -> None:
    """With what git says."""
    find_program("git")
    result = run_command("token", "scan", str(tmp_path), "--git", "--offline", "--policies", str(policies))
    assert "git cannot read it" in str(result.exception)


@pytest.mark.redis
def test_what_is_found_is_looked_up(where: tuple[str, ...], tmp_path: Path) -> None:
    """Which token it is and whether it works; a well-formed text that nobody has is unknown."""
    live, ended = run_json(*CREATE, *where), run_json(*CREATE, *where)
    run_command("token", "revoke", ended["id"], "--redis", where[1])
    file = tmp_path / "leak.txt"
    file.write_text(f"{live['token']}\n{ended['token']}\n{token(1)}\n")
    code, found, _ = scan(file, Path(where[3]), "--redis", where[1])
    assert 1 == code
    assert [(live["id"], "active"), (ended["id"], "revoked"), ("", "unknown")] == [
        (one["id"], one["state"]) for one in sorted(found, key=lambda one: one["places"])
    ]
    file.write_text(f"{ended['token']}\n{token(1)}\n")
    assert 0 == scan(file, Path(where[3]), "--redis", where[1])[0]


@pytest.mark.redis
def test_what_works_is_revoked_where_it_is_asked_for(where: tuple[str, ...], tmp_path: Path) -> None:
    """More than one only with --yes; the exit code is then 0, as nothing works any more."""
    tokens = [run_json(*CREATE, *where) for _ in range(2)]
    file = tmp_path / "leak.txt"
    file.write_text("\n".join(one["token"] for one in tokens))
    words = ("token", "scan", str(file), *where, "--revoke")
    refused = run_command(*words)
    assert "this would revoke 2 tokens: say --yes" in str(refused.exception)
    states = [run_json("token", "show", one["id"], *where)["state"] for one in tokens]
    assert ["active", "active"] == states
    done = run_command(*words, "--yes")
    assert 0 == done.exit_code
    assert "Found 2 token(s), 0 of which may work." in done.stdout
    assert ["revoked", "revoked"] == [run_json("token", "show", one["id"], *where)["state"] for one in tokens]
    assert not any(one["token"] in done.output for one in tokens)


@pytest.mark.redis
def test_a_text_without_a_checksum_counts_if_the_store_knows_it(where: tuple[str, ...], tmp_path: Path) -> None:
    """Else it only looks like a token, and is not told."""
    Path(where[3], "small.toml").write_text(SMALL.replace('["sml_"]', '["sml_"]\nchecksum = false'))
    known, other = "sml_" + "a1" * 20, "sml_" + "b2" * 20
    words = ("token", "import", "--policy", "small", "--project", "website", "--name", "Old", "--text-stdin")
    imported = run_json(*words, *where, stdin=known.encode())
    file = tmp_path / "leak.txt"
    file.write_text(f"{known}\n{other}\n")
    assert [imported["id"]] == [one["id"] for one in scan(file, Path(where[3]), "--redis", where[1])[1]]


def test_a_terminal_sees_how_far_it_is(tmp_path: Path, policies: Path) -> None:
    """On standard error; nothing of it where that is no terminal."""
    (tmp_path / "a.txt").write_text("nothing")
    command = [sys.executable, "-m", "gateway", "token", "scan", str(tmp_path / "a.txt"), "--offline"]
    words = [*command, "--policies", str(policies)]
    shown = subprocess.run(
        [find_program("script"), "-qec", " ".join(words), "/dev/null"], capture_output=True, check=True
    )
    assert b"scanning" in shown.stdout
    assert b"scanning" not in subprocess.run(words, capture_output=True, check=True).stderr
