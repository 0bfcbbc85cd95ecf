"""`gateway policy simulate`: tables, a page, JSON, an exit code for CI."""

import gzip
import json
import re
from pathlib import Path

import pytest

from gateway.adapters.encodings import zstd
from tests.support.command_line import run_command

POLICY = """
name = "api"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["api_"] }
scopes = { read = "Read" }
quotas = { minute = "3/minute" }

[[rules]]
match = "GET /**"
scopes = ["read"]
"""


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "api.toml").write_text(POLICY)
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Five requests of one token within a second, one of another, and a line that is none."""
    names = ["a", "a", "a", "a", "a", "b"]
    record = {"method": "GET", "path": "/<export>", "status": 200, "client": "192.0.2.1", "token_name": "<CI>"}
    lines = [
        json.dumps({"time": f"2026-11-30T09:41:07.{number:03}+00:00", "token": name, **record})
        for number, name in enumerate(names)
    ]
    file = tmp_path / "access.log"
    file.write_text("\n".join([*lines, "cut off", ""]))
    return file


def test_people_read_tables(candidate: Path, log: Path) -> None:
    """Who would be hit, when, by what, and which limit would do."""
    told = run_command("policy", "simulate", "--log", str(log), "--policies", str(candidate))
    assert 0 == told.exit_code
    lines = [re.sub(r"  +", "  ", line).strip() for line in told.stdout.splitlines()]
    assert "6 requests of 2 tokens, 2026-11-30T09:41:07.000+00:00 to 2026-11-30T09:41:07.005+00:00" in lines
    assert "1 lines are no records and were left out" in lines
    assert "Newly refused: 2 requests of 1 tokens. Newly passing: 0." in lines
    assert "minute  3/60s  2  1 of 2  5  5  5  5" in lines
    assert "a  <CI>  5  2  0  2026-11-30T09:41:07.003+00:00" in lines
    assert "2026-11-30T09:41:07.003+00:00  GET /<export>  <CI>: quota_exceeded (minute)" in lines


def test_machines_read_json(candidate: Path, log: Path) -> None:
    """All of it."""
    told = run_command("policy", "simulate", "--log", str(log), "--policies", str(candidate), "--json")
    report = json.loads(told.stdout)
    assert (6, 2, 1) == (report["total"]["requests"], report["total"]["newly_refused"], report["unread"])
    assert 5 == report["quotas"][0]["needed"][0]["of_requests"]


def test_a_page_is_written_that_needs_nothing_else(candidate: Path, log: Path, tmp_path: Path) -> None:
    """What comes of the log is escaped; nothing is fetched."""
    page = tmp_path / "report.html"
    run_command("policy", "simulate", "--log", str(log), "--policies", str(candidate), "--html", str(page))
    text = page.read_text()
    assert "&lt;CI&gt;" in text
    assert "<CI>" not in text
    assert 4 == text.count("<svg ")
    assert not re.search(r"<script|<link|src=|url\(|@import", text)


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("refused > 0.1%", 1),
        ("newly_refused>=2", 1),
        ("newly_refused > 2", 0),
        ("tokens_newly_refused >= 50%", 1),
        ("refused > 34%", 0),
    ],
)
def test_ci_asks_for_an_exit_code(candidate: Path, log: Path, condition: str, code: int) -> None:
    """1 if a condition holds, which is said with its numbers."""
    arguments = ("policy", "simulate", "--log", str(log), "--policies", str(candidate))
    told = run_command(*arguments, "--fail-if", condition)
    assert code == told.exit_code
    assert (condition in told.stderr) == bool(code)


def test_a_condition_that_is_none_is_said(candidate: Path, log: Path) -> None:
    """With what may be asked."""
    told = run_command("policy", "simulate", "--log", str(log), "--policies", str(candidate), "--fail-if", "much > 1")
    assert 2 == told.exit_code
    assert "write one of refused, newly_refused, tokens_newly_refused" in told.stderr


def test_compressed_logs_and_standard_input(candidate: Path, log: Path, tmp_path: Path) -> None:
    """gzip and zstd are known by their first bytes."""
    packed = {"gzip": gzip.compress(log.read_bytes()), "zstd": zstd.compress(log.read_bytes())}
    for name, content in packed.items():
        file = tmp_path / name
        file.write_bytes(content)
        told = run_command("policy", "simulate", "--log", str(file), "--policies", str(candidate))
        assert told.stdout.startswith("6 requests of 2 tokens")


def test_a_log_of_another_form_is_said(candidate: Path, tmp_path: Path) -> None:
    """Where, what, and what to do."""
    file = tmp_path / "nginx.log"
    file.write_text('192.0.2.1 - - [30/Nov/2026:09:41:07 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"\n' * 3)
    arguments = ("policy", "simulate", "--log", str(file), "--policies", str(candidate))
    wrong = run_command(*arguments)
    assert 0 != wrong.exit_code
    assert "line 1:" in str(wrong.exception)
    assert "See --form" in str(wrong.exception)
    assert run_command(*arguments, "--form", "nginx").stdout.startswith("3 requests of 1 tokens")


def test_other_json_lines_are_read_by_a_map(candidate: Path, tmp_path: Path) -> None:
    """The map is a file of JSON."""
    file, fields = tmp_path / "other.log", tmp_path / "map.json"
    file.write_text('{"at":1790000000,"verb":"GET","url":"http://h/x","code":200,"who":{"key":"k"}}\n')
    fields.write_text('{"time":["at"],"method":["verb"],"target":["url"],"status":["code"],"token":["who.key"]}')
    told = run_command("policy", "simulate", "--log", str(file), "--policies", str(candidate), "--map", str(fields))
    assert told.stdout.startswith("1 requests of 1 tokens")
    fields.write_text('{"time":["at"]}')
    wrong = run_command("policy", "simulate", "--log", str(file), "--policies", str(candidate), "--map", str(fields))
    assert "map.json: Object missing required field `method`" in str(wrong.exception)


def test_a_token_export_says_what_tokens_hold(candidate: Path, log: Path, tmp_path: Path) -> None:
    """Then scopes are judged too."""
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text('{"digest":"a","scopes":["read"]}\n{"digest":"b","scopes":[]}\n')
    arguments = ("policy", "simulate", "--log", str(log), "--policies", str(candidate), "--tokens", str(tokens))
    assert {"insufficient_scope", "quota_exceeded"} == json.loads(run_command(*arguments, "--json").stdout)[
        "reasons"
    ].keys()
