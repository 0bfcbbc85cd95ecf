"""`gateway policy`: the server's own loader, and a schema."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import POLICIES
from tests.support.command_line import run_command


def test_the_shipped_policies_are_right() -> None:
    """Every policy file that we ship passes its check and its own tests."""
    checked = run_command("policy", "check", str(POLICIES))
    assert 0 == checked.exit_code
    passed = re.findall(r"^([a-z-]+): [1-9]\d* rules, [1-9]\d* tests passed$", checked.stdout, re.MULTILINE)
    assert sorted(file.stem for file in POLICIES.glob("*.toml")) == passed


def test_every_mistake_of_every_file_is_a_line(tmp_path: Path) -> None:
    """File, place and message, and exit code 1."""
    (tmp_path / "a.toml").write_text('name = "a"\nupstrem = "http://x"\n[token]\nprefixes = ["a_"]\nlength = "x"\n')
    (tmp_path / "b.toml").write_text("name = 'b'\nupstream = 5\n")
    checked = run_command("policy", "check", str(tmp_path))
    assert 1 == checked.exit_code
    assert [
        f"{tmp_path}/a.toml: $.upstrem: unknown key 'upstrem': did you mean 'upstream'?",
        f"{tmp_path}/a.toml: $.token.length: Expected `int`, got `str`",
        f"{tmp_path}/a.toml: $: the key 'upstream' is missing",
        f"{tmp_path}/a.toml: $: the key 'rules' is missing",
        f"{tmp_path}/b.toml: $.upstream: Expected `str | object`, got `int`",
        f"{tmp_path}/b.toml: $: the key 'token' is missing",
        f"{tmp_path}/b.toml: $: the key 'rules' is missing",
        "7 mistake(s)",
    ] == checked.stderr.splitlines()


def test_one_file_can_be_checked() -> None:
    """PATH may be a file."""
    checked = run_command("policy", "check", str(POLICIES / "example.toml"))
    assert "example: 3 rules, 2 tests passed\n" == checked.stdout


def test_a_folder_without_policies_is_said(tmp_path: Path) -> None:
    """An empty folder is a mistake, not an empty success."""
    checked = run_command("policy", "check", str(tmp_path))
    assert 1 == checked.exit_code
    assert "no policy files (*.toml) here" in checked.stderr


def test_the_schema_is_json_schema() -> None:
    """The schema names its dialect and every key of a policy file."""
    schema = json.loads(run_command("policy", "schema").stdout)
    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
    properties = schema["$defs"]["PolicyDocument"]["properties"]
    assert {
        "name",
        "hosts",
        "upstream",
        "token",
        "management",
        "explain_refusals",
        "on_leak",
        "trust",
        "scopes",
        "bundles",
        "plans",
        "quotas",
        "rules",
        "errors",
        "tests",
    } == set(properties)


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        (
            "translations",
            {
                "TranslationsDocument": {"entries", "languages", "source_language"},
                "Entry": {"id", "key", "status", "values"},
            },
        ),
        (
            "design-tokens",
            {
                "DesignTokensDocument": {"tokens", "modes"},
                "DesignToken": {"name", "type", "value", "modes", "description", "deprecated", "extensions"},
            },
        ),
    ],
)
def test_a_document_has_its_schema(document: str, fields: dict[str, set[str]]) -> None:
    """A backend's team sees what a document may have, and that it may have more."""
    definitions = json.loads(run_command("policy", "schema", "--document", document).stdout)["$defs"]
    assert fields == {name: set(definition["properties"]) for name, definition in definitions.items()}
    assert not any("additionalProperties" in definition for definition in definitions.values())
