"""`gateway init`: a policy that is served as it is, and nothing overwritten."""

import re
import tomllib
from pathlib import Path

import pytest

from gateway.cli.init import STARTER
from gateway.core.errors import ConfigurationError
from tests.support.command_line import run_command


def test_the_starter_passes_its_check(tmp_path: Path) -> None:
    """What `init` writes, `policy check` finds no mistake in, and its tests pass."""
    assert 0 == run_command("init", str(tmp_path / "mine")).exit_code
    checked = run_command("policy", "check", str(tmp_path / "mine"))
    assert "api: 4 rules, 5 tests passed\n" == checked.output


def test_every_table_of_the_starter_is_explained() -> None:
    """Before each table, and each key outside of tables, there is a comment; tests are explained once."""
    lines = STARTER.read_text(encoding="utf-8").splitlines()
    heads = [(number, line) for number, line in enumerate(lines) if re.match(r"\[|name =|upstream =", line)]
    unexplained = [line for number, line in heads if not lines[number - 1].startswith("#")]
    assert ["[[tests]]"] * 4 == unexplained


def test_the_starter_shows_what_a_gateway_is_for() -> None:
    """One backend, a public path, scopes to read and to write, one quota, one cached export."""
    starter = tomllib.loads(STARTER.read_text(encoding="utf-8"))
    assert ["read", "write"] == list(starter["scopes"])
    assert 1 == len(starter["quotas"])
    assert 1 == len([rule for rule in starter["rules"] if rule.get("public")])
    assert 1 == len([rule for rule in starter["rules"] if "cache" in rule])


def test_what_to_do_next_names_the_folder_as_a_shell_reads_it(tmp_path: Path) -> None:
    """Each command that is printed works when pasted, also if the folder's name has a space."""
    folder = tmp_path / "my policies"
    printed = run_command("init", str(folder)).stdout
    assert f"Wrote {folder}/policy.toml\n" == printed[: printed.index("\n") + 1]
    assert f"gateway policy check '{folder}'\n" in printed
    assert f"gateway serve --policies '{folder}' " in printed


def test_a_folder_with_policies_is_left_as_it_is(tmp_path: Path) -> None:
    """`init` neither overwrites a policy nor puts a second one beside it."""
    (tmp_path / "shop.toml").write_text("mine")
    result = run_command("init", str(tmp_path))
    assert isinstance(result.exception, ConfigurationError)
    assert f"init: {tmp_path} has policies already (shop.toml): name another folder" == str(result.exception)
    assert ["shop.toml"] == [file.name for file in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("file", "init: {}/file is a file: name a folder"),
        ("file/below", "init: cannot write {}/file/below/policy.toml: Not a directory"),
    ],
)
def test_a_place_that_is_no_folder_is_named(tmp_path: Path, folder: str, message: str) -> None:
    """The error says which path cannot be a folder."""
    (tmp_path / "file").touch()
    assert message.format(tmp_path) == str(run_command("init", str(tmp_path / folder)).exception)
