"""`gateway export`: documents are checked and exports made without a server."""

import json
import plistlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.core.variants.samples import entry, texts, token, tokens
from tests.support.command_line import run_command

TREE = {"color": {"$type": "color", "blue": {"$value": "#1f5fd6", "$extensions": {"mode": {"Dark/AA": "#8ab4f8"}}}}}
POLICY = """
name = "small"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["sml_"] }
[[rules]]
match = "GET /texts/{project}/export"
[rules.variants]
document = "translations"
names = { entries = "data.nodes" }
"""


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """A file in the Design Tokens format."""
    file = tmp_path / "design.tokens.json"
    file.write_text(json.dumps(TREE))
    return str(file)


@pytest.fixture
def url() -> Iterator[str]:
    """Where a server has a document of translations."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/texts"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(texts(entry("a", de="x")) if found else b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_right_document_is_said_to_be_right(tree: str) -> None:
    """Whatever its kind, with the kind that it was taken for."""
    checked = run_command("export", "check", tree)
    assert (0, f"{tree}: a tree of design tokens, no mistakes\n") == (checked.exit_code, checked.stdout)


def test_each_mistake_is_a_line(tmp_path: Path) -> None:
    """Place and message, in the words of the file, and exit code 1."""
    file = tmp_path / "a.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps({**TREE, "a": 1, "b": {"$val": 2}}).encode())
    checked = run_command("export", "check", str(file))
    assert 1 == checked.exit_code
    assert "$.a: neither a group nor a token: a token is an object with $value" == checked.stderr.splitlines()[0]
    assert checked.stderr.splitlines()[1].startswith("$.b.$val: a group has no $val")
    assert "2 mistake(s)" == checked.stderr.splitlines()[2]


def test_an_export_is_made_as_the_gateway_makes_it(tree: str, tmp_path: Path) -> None:
    """The bytes that a build gets, on the output or in a file."""
    made = run_command("export", "render", tree, "--format", "css", "--mode", "Dark/AA")
    assert (0, b":root {\n  --color-blue: #8ab4f8;\n}\n") == (made.exit_code, made.stdout_bytes)
    output = tmp_path / "a.css"
    assert 0 == run_command("export", "render", tree, "--format", "css", "--output", str(output)).exit_code
    assert b":root {\n  --color-blue: #1f5fd6;\n}\n" == output.read_bytes()


def test_what_there_is_not_is_told_with_what_there_is(tree: str) -> None:
    """A mode of the document, a format, an option of the other kind of document."""
    made = run_command("export", "render", tree, "--mode", "dark")
    assert (1, "The option --mode must be one of Dark/AA.\n") == (made.exit_code, made.stderr)
    made = run_command("export", "render", tree, "--format", "yaml")
    assert "--format of design-tokens must be one of json, css, scss, js, ts, less, tailwind, dtcg" in made.stderr
    assert "--lang is not for design-tokens" in run_command("export", "render", tree, "--lang", "de").stderr


def test_plurals_are_written_and_checked_for_apple(tmp_path: Path) -> None:
    """What is a mistake of the format only is found if the format is named."""
    file = tmp_path / "texts.json"
    file.write_bytes(texts(entry("items", de={"one": "%d Ding", "other": "%d Dinge"})))
    made = run_command("export", "render", str(file), "--format", "stringsdict", "--lang", "de")
    assert {"one": "%d Ding", "other": "%d Dinge"}.items() <= plistlib.loads(made.stdout_bytes)["items"][
        "count"
    ].items()
    assert 0 == run_command("export", "check", str(file), "--format", "stringsdict").exit_code
    file.write_bytes(texts(entry("items", de={"other": "\x07"})))
    assert 0 == run_command("export", "check", str(file)).exit_code
    checked = run_command("export", "check", str(file), "--format", "stringsdict")
    assert (1, True) == (checked.exit_code, "has a character that XML" in checked.stderr)


def test_a_format_of_one_language_is_asked_for_with_it(tmp_path: Path) -> None:
    """As a request does it; with it the file is what Android's build takes."""
    file = tmp_path / "texts.json"
    file.write_bytes(texts(entry("home.title", de="Start", fr="Accueil")))
    made = run_command("export", "render", str(file), "--format", "android")
    assert "--format android is in one language: say which with --lang, such as --lang de" in made.stderr
    made = run_command("export", "render", str(file), "--format", "android", "--lang", "fr")
    assert b'    <string name="home_title">Accueil</string>\n' in made.stdout_bytes


def test_a_broken_document_is_told_with_its_place(tmp_path: Path) -> None:
    """As the gateway answers it."""
    file = tmp_path / "a.json"
    file.write_bytes(tokens(token("a", "number", "x")))
    made = run_command("export", "render", str(file))
    assert (1, "", "$.tokens[0]: not a value of type number\n") == (made.exit_code, made.stdout, made.stderr)


def test_a_policy_says_how_the_backend_writes_its_document(tmp_path: Path) -> None:
    """The rule is the one for the path."""
    file, policy = tmp_path / "a.json", tmp_path / "small.toml"
    policy.write_text(POLICY)
    file.write_text(json.dumps({"data": {"nodes": [{"id": "a", "values": {"de": "x", "fr": "y"}}]}}))
    ours = ("--policy", str(policy), "--path", "/texts/website/export")
    made = run_command("export", "render", str(file), *ours, "--lang", "fr")
    assert (0, b'{"a":"y"}\n') == (made.exit_code, made.stdout_bytes)
    assert "--policy and --path belong together" in run_command("export", "check", str(file), *ours[:2]).stderr


@pytest.mark.system
def test_a_document_may_be_somewhere_else(url: str) -> None:
    """At a URL, or on the standard input."""
    checked = run_command("export", "check", f"{url}/texts")
    assert (0, f"{url}/texts: translations, no mistakes\n") == (checked.exit_code, checked.stdout)


@pytest.mark.system
def test_what_cannot_be_read_is_told_with_its_cause(url: str, tmp_path: Path) -> None:
    """File or URL, and why; a password in one is refused, and not repeated."""
    assert f"{url}/nowhere: 404 " in str(run_command("export", "check", f"{url}/nowhere").exception)
    missing = tmp_path / "missing.json"
    assert f"{missing}: No such file" in str(run_command("export", "check", str(missing)).exception)
    refused = run_command("export", "check", url.replace("//", "//me:secret@"))
    assert "no password may stand there" in str(refused.exception)
    assert "secret" not in str(refused.exception) + refused.output
