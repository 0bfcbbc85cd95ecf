"""What builds read exports with: packages of npm, installed once into pytest's cache."""

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

from tests.support.programs import find_optional

SOURCES = Path(__file__).parents[1] / "data" / "consumers"
MAXIMUM_SECONDS = 300

Read = Callable[..., dict[str, Any]]


def install_consumers(config: pytest.Config) -> Path:
    """Return the folder with the packages and our scripts. The test is left out without Node or a registry."""
    return install_packages(config.cache.mkdir("consumers"))


def install_packages(cache: Path) -> Path:
    """Return the folder with the packages and our scripts, in `cache`; raise pytest.skip.Exception if it cannot be."""
    find_optional("node")
    npm = find_optional("npm")
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in sorted(SOURCES.iterdir()))).hexdigest()[:16]
    folder = cache / digest
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
    return folder


def build_reader(folder: Path) -> Read:
    """Return what runs one of our scripts in the folder, and gives its answer: the consumers', by their names."""

    def read(script: str = "read.mjs", **exports: Any) -> dict[str, Any]:
        given = json.dumps(exports).encode()
        done = subprocess.run(
            ["node", script], cwd=folder, input=given, timeout=MAXIMUM_SECONDS, capture_output=True, check=False
        )
        assert 0 == done.returncode, done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return read
