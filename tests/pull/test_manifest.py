"""What a run is told: manifests, URLs, variables. What is refused, before anything is sent."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.pull.command import pull, read_tokens
from gateway.pull.manifest import read_manifest
from gateway.pull.model import Export

MANIFEST = """
token_variable = "SHOP_TOKEN"
[[exports]]
url = "https://api.example.com/en"
output = "i18n/en.json"
[[exports]]
url = "https://api.example.com/de"
output = "i18n/de.json"
token_variable = "OTHER_TOKEN"
field = "X-API-Key"
"""
URL = "https://api.example.com/export"
SECRET = "sml_0123456789abcdef"


def test_a_manifest_lists_exports_beside_itself(tmp_path: Path) -> None:
    """Paths are relative to it; an export's own settings stand before those of the manifest."""
    file = tmp_path / "exports.toml"
    file.write_text(MANIFEST)
    assert [
        Export("https://api.example.com/en", tmp_path / "i18n/en.json", "SHOP_TOKEN", "Authorization"),
        Export("https://api.example.com/de", tmp_path / "i18n/de.json", "OTHER_TOKEN", "X-API-Key"),
    ] == read_manifest(file, "IGNORED", "")


def run(*arguments: str, token: str = SECRET) -> tuple[int, str]:
    result = CliRunner().invoke(pull, arguments, env={"GATEWAY_TOKEN": token})
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name at least one URL"),
        ((URL,), "1 URLs and 0 files"),
        ((URL, "-o", "a", URL, "-o", "./a"), "named twice"),
        (("ftp://a.example/x", "-o", "a"), "is no URL"),
        (("https://a.example/a b", "-o", "a"), "is no URL"),
        (("https://user:secret@a.example/", "-o", "a"), "has a user name"),
        (("http://a.example/", "-o", "a"), "unencrypted"),
        ((URL, "-o", "/"), "is a folder"),
        ((URL, "-o", "a", "--total-time", "soon"), "is no duration"),
        ((URL, "-o", "a", "--token-variable", SECRET + "-"), "takes the name of a variable"),
        ((URL, "-o", "a", "--field", "X API"), "no name of a field"),
        (("--manifest", "missing.toml"), "missing.toml"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_sent(arguments: tuple[str, ...], message: str) -> None:
    """With exit code 2, and without what may be a secret."""
    code, output = run(*arguments)
    assert 2 == code
    assert message in output
    assert SECRET not in output
    assert "secret@" not in output


@pytest.mark.parametrize("text", ["[[exports]]\nurl = 5", "exports = [{ url = 'u', outptu = 'x' }]", "= 5", "\xff"])
def test_a_manifest_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    """The message names the file and the place."""
    file = tmp_path / "exports.toml"
    file.write_bytes(text.encode("latin-1"))
    code, output = run("--manifest", str(file))
    assert 2 == code
    assert "exports.toml" in output


@pytest.mark.parametrize("token", ["", "  ", "two words", "a\nb"])
def test_a_variable_has_a_token_and_nothing_else(token: str) -> None:
    """What ends in a line break, as files of secrets do, is a token."""
    with pytest.raises(click.UsageError, match="the variable GATEWAY_TOKEN") as raised:
        read_tokens([Export(URL, Path("a"), "GATEWAY_TOKEN", "Authorization")], {"GATEWAY_TOKEN": token})
    assert "two words" not in str(raised.value)
    tokens = read_tokens([Export(URL, Path("a"), "GATEWAY_TOKEN", "Authorization")], {"GATEWAY_TOKEN": "sml_1\n"})
    assert {("https://api.example.com", "GATEWAY_TOKEN"): "sml_1"} == tokens
