"""What builds read exports with: packages of npm, installed once into pytest's cache."""

import hashlib
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.programs import find_optional

SOURCES = Path(__file__).parents[1] / "data" / "consumers"
MAXIMUM_SECONDS = 300


def install_consumers(config: pytest.Config) -> Path:
    """Return the folder with the packages and our scripts. The test is left out without Node or a registry."""
    find_optional("node")
    npm = find_optional("npm")
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in sorted(SOURCES.iterdir()))).hexdigest()[:16]
    folder = config.cache.mkdir("consumers") / digest
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
