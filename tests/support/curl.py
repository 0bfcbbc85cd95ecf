"""curl: a client that shares no code with us."""

import subprocess

import pytest

from tests.support.programs import find_program

LIBRARIES = {"br": "brotli", "zstd": "zstd", "gzip": "libz"}
"""What curl says of itself where it decodes a content coding."""


def find_curl(coding: str) -> str:
    """Return the path of a curl that decodes the coding; leave the test out if this machine's curl does not."""
    executable = find_program("curl")
    version = subprocess.run([executable, "--version"], capture_output=True, check=True, text=True).stdout.lower()
    if LIBRARIES[coding] not in version:
        pytest.skip(f"needs a curl that was built with {coding}")
    return executable
