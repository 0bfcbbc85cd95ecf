"""`gateway pull` where its library is missing. What it does is in tests/pull and tests/system/test_pull.py."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['pycurl'] = None; from gateway.cli.main import main; main()"


@pytest.mark.system
def test_without_pycurl_it_says_what_to_install() -> None:
    """In a line, with exit code 2; other commands, and the help of all, go on."""
    pull = subprocess.run([sys.executable, "-c", WITHOUT, "pull"], capture_output=True, text=True, check=False)
    assert 2 == pull.returncode
    assert pull.stderr.startswith("gateway: gateway pull needs pycurl: run `pip install 'token-gateway[pull]'`")
    assert 1 == len(pull.stderr.splitlines())
    listed = subprocess.run([sys.executable, "-c", WITHOUT, "--help"], capture_output=True, text=True, check=True)
    assert "Pull exports into files" in listed.stdout
