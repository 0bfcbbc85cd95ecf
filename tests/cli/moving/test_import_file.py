"""`gateway token import --file` and `gateway token export`, against a real Redis."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from gateway.core.tokens.text import digest
from tests.support.admitting import admit
from tests.support.command_line import CREATE, run_command, run_json
from tests.support.policies import SMALL

pytestmark = pytest.mark.redis


def digest_of(number: int) -> str:
    return sha256(f"token {number}".encode()).hexdigest()


def write_csv(folder: Path, *rows: str, columns: str = "digest,name,project,scopes") -> Path:
    file = folder / "tokens.csv"
    file.write_text("\n".join([columns, *rows]) + "\n")
    return file


def import_file(
    where: tuple[str, ...], file: Path | str, *words: str, stdin: bytes = b""
) -> tuple[int, dict[str, Any]]:
    command = ("token", "import", "--policy", "small", "--file", str(file), "--json", *where, *words)
    result = run_command(*command, stdin=stdin)
    assert result.exit_code in (0, 1), f"{result.output}{result.exception!r}"
    return result.exit_code, json.loads(result.stdout)


def import_plainly(where: tuple[str, ...], file: Path | str, *words: str) -> Result:
    return run_command("token", "import", "--policy", "small", "--file", str(file), *where, *words)


def list_tokens(where: tuple[str, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_json("token", "list", "--policy", "small", *where)
    return sorted(found, key=lambda one: str(one["name"]))


def test_a_file_is_imported_and_importing_it_again_changes_nothing(where: tuple[str, ...], tmp_path: Path) -> None:
    """Its tokens are listed as they were given; the second time all are there already."""
    rows = [f"{digest_of(number)},CI {number},p{number},read" for number in range(300)]
    file = write_csv(tmp_path, *rows)
    assert (0, [300, 0, 0]) == import_counts(where, file)
    before = list_tokens(where)
    assert 300 == len(before)
    assert (0, [0, 300, 0]) == import_counts(where, file)
    assert before == list_tokens(where)
    entries = [json.loads(line) for line in run_command("audit", "export", "--redis", where[1]).stdout.splitlines()]
    assert 300 == sum(entry["action"] == "token.import" for entry in entries)


def import_counts(where: tuple[str, ...], file: Path) -> tuple[int, list[int]]:
    code, told = import_file(where, file)
    return code, counts(told)


def counts(told: dict[str, Any]) -> list[int]:
    return [told[name] for name in ("imported", "present", "refused")]


def test_what_was_imported_works(where: tuple[str, ...], tmp_path: Path) -> None:
    """By its digest and by its text, also of an owner that has a record; a disabled one does not."""
    Path(where[3], "small.toml").write_text(SMALL.replace('["sml_"]', '["sml_", "old-"]\nchecksum = false'))
    texts = ["old-0123456789abcdefghijkl", "old-1123456789abcdefghijkl", "old-2123456789abcdefghijkl"]
    run_command("owner", "set", "ada", "--policy", "small", "--in", "website=read", *where)
    lines = [
        {"digest": digest(texts[0], b""), "name": "a", "project": "website", "owner": "ada", "scopes": ["read"]},
        {"text": texts[1], "name": "b", "project": "website", "scopes": "read"},
        {"text": texts[2], "name": "c", "project": "website", "scopes": "read", "is_active": False},
    ]
    file = tmp_path / "tokens.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert [3, 0, 0] == counts(import_file(where, file)[1])
    assert [True, True, False] == [facts.is_charged for facts in admit(where[1], texts)]
    assert not any(text in json.dumps(list_tokens(where)) for text in texts)


def test_rows_that_cannot_be_imported_are_told_and_the_others_are_imported(
    where: tuple[str, ...], tmp_path: Path
) -> None:
    """Each with its line and why; the report has every row; no value of a row is repeated."""
    revoked = run_json(*CREATE, *where)
    run_command("token", "revoke", revoked["id"], "--redis", where[1])
    lines = [
        f"{digest_of(1)},good,website,read",
        f"{digest_of(2)},bad scope,website,raed",
        "sml_notadigest0123456789,bad digest,website,read",
        f"{digest_of(3)},no project,,read",
        f"{digest_of(4)},short",
        f"{digest(revoked['token'], b'')},revoked,website,read",
        f"{digest_of(5)},good too,website,read",
    ]
    report = tmp_path / "report.jsonl"
    result = import_plainly(where, write_csv(tmp_path, *lines), "--report", str(report))
    assert 1 == result.exit_code
    assert "Imported 2 token(s); 0 were there already, 5 were refused." in result.stdout
    reasons = {line.partition(": ")[0]: line.partition(": ")[2] for line in result.stderr.splitlines()}
    assert ["line 3", "line 4", "line 5", "line 6", "line 7"] == sorted(reasons)
    assert "unknown scope 'raed': did you mean 'read'?" in reasons["line 3"]
    assert "a digest is 64 hex digits" in reasons["line 4"]
    assert "2 values for 4 columns" in reasons["line 6"]
    assert "was revoked, for good" in reasons["line 7"]
    told = [json.loads(line) for line in report.read_text().splitlines()]
    assert [2, 3, 4, 5, 6, 7, 8] == [one["line"] for one in told]
    assert "sml_notadigest" not in result.output + report.read_text()


def test_a_token_that_is_there_with_other_settings_is_refused(where: tuple[str, ...], tmp_path: Path) -> None:
    """What differs is named, and nothing is changed."""
    import_file(where, write_csv(tmp_path, f"{digest_of(1)},CI,website,read"))
    code, told = import_file(where, write_csv(tmp_path, f"{digest_of(1)},Other,elsewhere,read"))
    assert (1, [0, 0, 1]) == (code, counts(told))
    assert "exists already, with another project, another name" in told["first_refused"][0]["reason"]
    assert ["CI"] == [one["name"] for one in list_tokens(where)]


def test_an_import_that_was_broken_off_goes_on(where: tuple[str, ...], tmp_path: Path) -> None:
    """What is there already is passed over, so the same command ends what it began."""
    rows = [f"{digest_of(number)},CI {number},p,read" for number in range(10)]
    import_file(where, write_csv(tmp_path, *rows[:6]))
    assert [4, 6, 0] == counts(import_file(where, write_csv(tmp_path, *rows))[1])


def test_options_stand_in_for_columns(where: tuple[str, ...], tmp_path: Path) -> None:
    """A file of digests alone is enough, also on a pipe."""
    words = ("--form", "csv", "--name", "Old", "--project", "website", "--scope", "read", "--expires", "30d")
    content = f"digest\n{digest_of(1)}\n{digest_of(2)}\n".encode()
    assert [2, 0, 0] == counts(import_file(where, "-", *words, stdin=b"\xef\xbb\xbf" + content)[1])
    assert [("Old", "website", ["read"])] * 2 == [
        (one["name"], one["project"], one["scopes"]) for one in list_tokens(where)
    ]
    assert all(one["expires_at"] for one in list_tokens(where))


def test_numbers_and_unique_names_are_kept(where: tuple[str, ...], tmp_path: Path) -> None:
    """A policy that wants them gets them from a file, too."""
    Path(where[3], "small.toml").write_text(SMALL.replace("[token]", "[token]\nunique_names = true\nnumbers = true"))
    rows = [f"{digest_of(1)},a,website,read", f"{digest_of(2)},a,website,read", f"{digest_of(3)},b,website,read"]
    code, told = import_file(where, write_csv(tmp_path, *rows))
    assert (1, [2, 0, 1]) == (code, counts(told))
    assert "is named 'a'" in told["first_refused"][0]["reason"]
    assert [1, 2] == sorted(one["number"] for one in list_tokens(where))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "digest,nmae\n", "did you mean 'name'?"),
        ("t.csv", "sml_0123456789abcdef01234\n", "a column has no name of ours"),
        ("t.kong", "{", "Expecting property name"),
        ("t.kong", "{}", "there is no list of tokens; it should be GET /key-auths"),
        ("missing.csv", None, "No such file"),
        ("t.csv", "digest\n\udcff", "can't decode"),
    ],
)
def test_a_file_that_is_none_is_refused(
    where: tuple[str, ...], tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    """As a whole, with its name."""
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    result = import_plainly(where, file)
    assert message in f"{result.exception}{result.output}"
    assert "sml_0123" not in f"{result.exception}{result.output}"


def test_an_export_of_kong_is_imported(where: tuple[str, ...], tmp_path: Path) -> None:
    """Its keys go on working."""
    Path(where[3], "small.toml").write_text(SMALL.replace('["sml_"]', '["kong-"]\nchecksum = false'))
    text = "kong-0123456789abcdefghijkl"
    file = tmp_path / "key-auths.json"
    file.write_text(json.dumps({"data": [{"id": "1", "key": text, "consumer": {"id": "a", "username": "web"}}]}))
    told = import_file(where, file, "--form", "kong", "--project", "website", "--scope", "read")[1]
    assert [1, 0, 0] == counts(told)
    assert [("web", "web")] == [(one["name"], one["owner"]) for one in list_tokens(where)]
    assert [True] == [facts.is_charged for facts in admit(where[1], [text])]


def test_a_backup_brings_tokens_back(where: tuple[str, ...], tmp_path: Path, own_redis: Any) -> None:
    """Into another Redis, where they work; what it leaves out is told."""
    live, ended, disabled = (run_json(*CREATE, "--scope", "read", *where) for _ in range(3))
    run_command("token", "revoke", ended["id"], "--redis", where[1])
    run_command("token", "update", disabled["id"], "--disable", *where)
    exported = run_command("token", "export", "--policy", "small", *where)
    assert "Left out: 1 revoked.\n" == exported.stderr
    assert live["token"] not in exported.stdout
    file = tmp_path / "backup.jsonl"
    file.write_text(exported.stdout)
    elsewhere = ("--redis", own_redis.url, *where[2:])
    assert [2, 0, 0] == counts(import_file(elsewhere, file)[1])
    assert [True, False] == [facts.is_charged for facts in admit(own_redis.url, [live["token"], disabled["token"]])]
    assert [0, 2, 0] == counts(import_file(elsewhere, file)[1])


def test_one_token_still_needs_a_name(where: tuple[str, ...]) -> None:
    """Rows have their own; a single one is named by the option."""
    for command in (("create",), ("import", "--digest", digest_of(1))):
        result = run_command("token", *command, "--policy", "small", "--project", "website", *where)
        assert (2, True) == (result.exit_code, "Missing option '--name'" in result.output)
