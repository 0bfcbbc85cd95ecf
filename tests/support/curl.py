"""curl: a client that shares no code with us."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import WITHOUT_REDIS

LIBRARIES = {"br": "brotli", "zstd": "zstd", "gzip": "libz"}
"""What curl says of itself where it decodes a content coding."""


def find_curl(coding: str) -> str:
    """The path of a curl that decodes the coding; without one the test fails, but where servers were left out."""
    executable = shutil.which("curl")
    if executable is None:
        if os.environ.get(WITHOUT_REDIS) == "1":
            pytest.skip("there is no curl on this machine")
        pytest.fail(f"this test needs curl on the PATH; {WITHOUT_REDIS}=1 leaves such tests out")
    version = subprocess.run([executable, "--version"], capture_output=True, check=True, text=True).stdout.lower()
    if LIBRARIES[coding] not in version:
        pytest.skip(f"this machine's curl was built without {coding}")
    return executable
