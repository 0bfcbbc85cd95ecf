"""Programs that tests run and pip does not install: where they are, and what happens to a test if one is missing."""

import os
import shutil
import sys
from pathlib import Path

import pytest

LEFT_OUT = "GATEWAY_TEST_WITHOUT"
"""Names of the programs whose tests are left out; `make test` sets it. Without it a missing program fails its tests."""


def find_optional(name: str) -> str:
    """Return the path of a program that `make test` does not install. If it is missing, the test is left out."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def find_program(*names: str) -> str:
    """Return the path of the first of these programs that is on the PATH or beside this Python.

    If none is there, the test is left out if LEFT_OUT names one of them, and fails otherwise.
    """
    beside = str(Path(sys.executable).parent)  # some servers come as Python packages
    found = next((path for name in names if (path := shutil.which(name) or shutil.which(name, path=beside))), None)
    if found is None:
        if set(names) & set(os.environ.get(LEFT_OUT, "").split()):
            pytest.skip(f"needs {names[0]}")
        pytest.fail(f"this test needs {names[0]} on the PATH; to leave such tests out, set {LEFT_OUT}={names[0]}")
    return found
