"""No command repeats a token on standard error, whoever writes there."""

import io
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TextIO, cast

import pytest

from gateway.cli.process.masked import MaskedText, find_folder, mask
from gateway.core.tokens.text import TokenFormat, mint
from tests.support.policies import SMALL

OWN = mint(TokenFormat(("any_",), 40, checksum=True, shown=12), bytes(range(100)))
"""A token of our making, whose policy is nowhere to be read."""
FOREIGN = "frn_k3Jd82mQpLx0Zt7vB1nY"
"""One that was made elsewhere: only the policy's prefix tells what it is."""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a folder with policies of the prefix `frn_`, without a checksum."""
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    foreign = SMALL.replace('prefixes = ["', 'checksum = false\nprefixes = ["frn_", "')
    (policies / "small.toml").write_text(foreign)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )


@pytest.mark.system
@pytest.mark.parametrize("token", [OWN, FOREIGN], ids=["ours", "foreign"])
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("TOKEN",), 2, "No such command"),
        (("token", "list", "TOKEN", "--redis", "redis://127.0.0.1:1"), 2, "unexpected extra argument"),
        (("token", "list", "--TOKEN"), 2, "No such option"),
        (("token", "list", "--redis", "redis://127.0.0.1:1?TOKEN=1"), 2, "unknown option"),
        (("serve", "--redis", "memory://", "--upstream", "TOKEN=http://127.0.0.1:1"), 2, "no policy is named"),
        (("serve", "--redis", "memory://", "--access-log", "absent/TOKEN"), 2, "No such file"),
    ],
    ids=["a command", "an argument", "an option", "a URL", "a setting", "a file"],
)
def test_a_token_where_none_belongs_is_not_repeated(
    tmp_path: Path, token: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Whatever finds the mistake, click or the gateway, says it without the token."""
    ended = run(tmp_path, *(one.replace("TOKEN", token) for one in arguments))
    assert code == ended.returncode, ended.stderr
    assert said in ended.stderr
    assert token[4:] not in ended.stdout + ended.stderr
    assert f"{token[:4]}..." in ended.stderr


def test_all_ways_to_write_are_masked() -> None:
    """What a program prints, writes in lines, or leaves to Python as a traceback; else it is the stream that it was."""
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    masked = cast(TextIO, MaskedText(stream, mask))
    print("a", OWN, file=masked)
    masked.writelines(["b\n", OWN, "\n"])
    try:
        int(OWN)
    except ValueError:
        traceback.print_exc(file=masked)
    masked.flush()
    written = cast(io.BytesIO, masked.buffer).getvalue().decode()
    assert written.startswith("a any_...\nb\nany_...\nTraceback")
    assert "base 10: 'any_...'" in written
    assert OWN[4:] not in written


@pytest.mark.parametrize(
    ("arguments", "environment", "folder"),
    [
        ((), {}, "policies"),
        ((), {"GATEWAY_POLICIES": ""}, "policies"),
        ((), {"GATEWAY_POLICIES": "mine"}, "mine"),
        (("token", "--policies", "given"), {"GATEWAY_POLICIES": "mine"}, "given"),
        (("--policies=given", "token"), {}, "given"),
        (("token", "--policies"), {}, ""),
    ],
)
def test_the_policies_are_found_as_the_command_finds_them(
    arguments: tuple[str, ...], environment: dict[str, str], folder: str
) -> None:
    """By the option, else by the variable, else by default."""
    assert folder == find_folder(arguments, environment)
