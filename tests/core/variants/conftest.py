"""What reads exports in builds: packages from npm, fetched once into pytest's cache."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parents[2] / "data" / "consumers"
MAXIMUM_SECONDS = 300

Read = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def consumers(pytestconfig: pytest.Config) -> Read:
    """What reads exports: the consumers' answers, by their names."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in sorted(SOURCES.iterdir()))).hexdigest()[:16]
    folder = pytestconfig.cache.mkdir("consumers") / digest
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            made = shutil.copytree(SOURCES, Path(unfinished) / "consumers")
            quietly = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent")
            command = [npm, "install", "--fetch-retries=1", *quietly]
            try:
                subprocess.run(command, cwd=made, timeout=MAXIMUM_SECONDS, capture_output=True, check=True)
            except subprocess.SubprocessError:
                pytest.skip("needs a registry of npm packages")
            with suppress(OSError):  # another process of these tests was faster
                made.rename(folder)

    def read(script: str = "read.mjs", **exports: Any) -> dict[str, Any]:
        given = json.dumps(exports).encode()
        done = subprocess.run(
            [node, script], cwd=folder, input=given, timeout=MAXIMUM_SECONDS, capture_output=True, check=False
        )
        assert 0 == done.returncode, done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return read
