"""The first commands that people paste, from README.md and from the quickstart, run by shells as they stand."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.documents import ROOT, blocks, read
from tests.support.processes import free_port
from tests.support.programs import find_program

PORTS = ("6379", "9001", "8080", "8081")
"""Redis, the backend, the gateway's listeners: other ports in a test, as another may run beside it."""
SHELL_SECONDS = 120
SHELLS = ["sh", *(["zsh"] if shutil.which("zsh") else [])]


@contextmanager
def pasted(text: str, shell: str, folder: Path) -> Iterator["subprocess.CompletedProcess[str]"]:
    """Run commands in a shell with this environment's programs; nothing of what they start is left behind."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "PYTEST"))}
    command = [shell, "-e", "-c", text + "\nwait\n"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "PATH": path, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=SHELL_SECONDS)
            yield subprocess.CompletedProcess(command, process.returncode, output)
        finally:
            if process.returncode != 0:
                os.killpg(process.pid, signal.SIGTERM)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("document", ["README.md", "docs/guide/quickstart.md"])
@pytest.mark.usefixtures("redis_executable")
def test_the_quickstart_gets_a_304(document: str, shell: str, tmp_path: Path) -> None:
    """A 200 that is stored, a 304 without content, and a 401 after the revocation."""
    find_program("curl")
    commands, policy = "\n".join(blocks(read(document), "sh")), read("policies/example.toml")
    for port in PORTS:
        other = str(free_port())
        commands, policy = commands.replace(port, other), policy.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "example.toml").write_text(policy)
    with pasted(commands, shell, tmp_path) as done:
        assert 0 == done.returncode, done.stdout
    answers = [(tmp_path / f"{name}.txt").read_text().split("\n")[0].strip() for name in ("first", "second", "third")]
    assert ["HTTP/1.1 200 OK", "HTTP/1.1 304 Not Modified", "HTTP/1.1 401 Unauthorized"] == answers
    assert "gateway; fwd=uri-miss; stored" in (tmp_path / "first.txt").read_text()
    assert "gateway; hit" in (tmp_path / "second.txt").read_text()
    assert "example: 3 rules, 2 tests passed" in done.stdout
    assert (tmp_path / "export.json").stat().st_size > 0
    assert not (tmp_path / "unchanged.json").exists() or (tmp_path / "unchanged.json").stat().st_size == 0
