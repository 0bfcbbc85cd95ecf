"""`gateway policy diff`: words, a log's evidence, an exit code."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import run_command

POLICY = """
name = "api"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["api_"] }
scopes = { read = "Read" }
quotas = { minute = "100/minute" }

[[rules]]
match = "GET /**"
scopes = ["read"]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Old, new, and a log of two tokens: one asks for five at once."""
    (tmp_path / "old.toml").write_text(POLICY)
    (tmp_path / "new.toml").write_text(POLICY.replace("100/minute", "3/minute"))
    record = {"method": "GET", "path": "/a", "status": 200}
    lines = [
        json.dumps({"time": f"2026-11-30T09:41:07.{n:03}+00:00", "token": name, "token_name": f"CI {name}", **record})
        for n, name in enumerate("aaaaab")
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    return str(tmp_path / "old.toml"), str(tmp_path / "new.toml"), str(tmp_path / "log")


def test_what_changes_is_told_with_a_logs_evidence(files: tuple[str, str, str]) -> None:
    """How many would meet it, and who first."""
    old, new, log = files
    told = run_command("policy", "diff", old, new, "--log", log)
    assert [
        "api: quota minute: 100 in 60 s becomes 3 in 60 s",
        "    1 of 2 holders asked for more at once; the first is CI a (a): 5",
        "",
        "Of 6 requests of the log 2 of 1 tokens would be newly refused, and 0 would newly pass.",
        "See them with `gateway policy simulate`.",
    ] == told.stdout.splitlines()


def test_machines_read_json(files: tuple[str, str, str]) -> None:
    """The quota as it was and becomes."""
    old, new, log = files
    (row,) = json.loads(run_command("policy", "diff", old, new, "--log", log, "--json").stdout)
    assert (100, 3) == (row["difference"]["old"]["limit"], row["difference"]["new"]["limit"])
    assert {"holders": 2, "beyond": 1, "first": "CI a (a)", "most": 5} == row["evidence"]


def test_an_exit_code_says_whether_anything_changes(files: tuple[str, str, str]) -> None:
    """If asked for."""
    old, new, _ = files
    assert (0, 1, 0) == tuple(
        run_command("policy", "diff", *arguments).exit_code
        for arguments in ((old, new), (old, new, "--exit-code"), (old, old, "--exit-code"))
    )
    assert "Nothing changes.\n" == run_command("policy", "diff", old, old).stdout
