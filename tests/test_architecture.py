"""The roles of the folders, read off the syntax trees: imports go one way, core does no IO, and files stay short."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "gateway").rglob("*.py"))
CORE = [file for file in FILES if "core" in file.relative_to(ROOT).parts]
ADAPTERS = [file for file in FILES if "adapters" in file.relative_to(ROOT).parts]

LAYERS = (
    "core",
    "adapters",
    "contents",
    "fetching",
    "retrieval",
    "shaping",
    "exchange",
    "management",
    "web",
    "app",
    "admin",
    "cli",
    "plugin",
)
"""From the innermost to the outermost: a layer may import itself and those before it."""
SETTINGS_READERS = {"settings", "app", "admin", "cli", "plugin"}
ALLOWED_EVERYWHERE = {"gateway", "msgspec"}
STANDARD_LATER = {"compression"}
"""Of the standard library since Python 3.14."""

FORBIDDEN_IN_CORE = {
    "aiohttp",
    "asyncio",
    "httptools",
    "httpx",
    "litestar",
    "logging",
    "os",
    "pathlib",
    "random",
    "redis",
    "secrets",
    "socket",
    "subprocess",
    "sys",
    "threading",
    "time",
    "uvicorn",
}
CLOCKS_AND_CONSOLE = {"now", "utcnow", "today", "open", "print", "input"}
"""What reads a clock, a file or the console without an import of its own."""

TWO_LIBRARIES = {
    "gateway/adapters/redis_connection.py": {"fakeredis", "redis"},
    "gateway/adapters/redis_private.py": {"hiredis", "redis"},
}
"""The embedded store stands in for Redis behind the same client, so it is chosen where the client is opened. hiredis is
what redis-py packs and reads with: the file that changes its connections knows both."""

CHANGE = re.compile(r"tokens\.(create|replace|rotate|revoke\w*)\(|owners\.replace\(")
"""What RedisTokens and RedisOwners do to what is stored."""

MAXIMUM_FILE_LINES = 250
LONG_FILES = {
    "gateway/adapters/names.py",
    "gateway/adapters/redis_connection.py",
    "gateway/core/caching/storing.py",
    "gateway/fetching.py",
    "gateway/web/connections.py",
    "gateway/web/requests.py",
}
"""All names in Redis stand in one place, to be read as a list; the others are one subject each."""
MAXIMUM_FUNCTION_LINES = 50


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def layer_of(module: str) -> str:
    """`gateway.core.fields` is of the layer core; `gateway` and `gateway.__main__` are of none."""
    return [*module.split("."), ""][1]


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imports_of(file: Path) -> Iterator[str]:
    """The full names of the modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports_of(file: Path) -> set[str]:
    return {layer_of(name) for name in imports_of(file) if name.split(".")[0] == "gateway"} - {"", "__version__"}


def libraries_of(file: Path) -> set[str]:
    tops = {name.split(".")[0] for name in imports_of(file)}
    return tops - sys.stdlib_module_names - STANDARD_LATER - ALLOWED_EVERYWHERE


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_go_one_way(file: Path) -> None:
    """cli and app import web, web exchange and so on down to core, and never the other way round."""
    layer = layer_of(name_of(file).removesuffix(".py").replace("/", "."))
    imported = own_imports_of(file) - {"settings"}
    if layer == "settings":
        assert imported <= {"core"}
    elif layer in LAYERS:
        assert imported <= set(LAYERS[: LAYERS.index(layer) + 1])
    else:
        assert imported <= {"__main__": {"cli"}, "__init__": set()}[layer]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_only_the_outside_reads_settings(file: Path) -> None:
    """Settings are known to the composition root and the command line; everything else is given what it needs."""
    layer = layer_of(name_of(file).removesuffix(".py").replace("/", "."))
    assert "settings" not in own_imports_of(file) or layer in SETTINGS_READERS


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_tokens_are_changed_by_management_only(file: Path) -> None:
    """So no door can change a token or an owner without an actor and an entry of the history."""
    if not {"adapters", "management"} & set(file.relative_to(ROOT).parts):
        assert None is CHANGE.search(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", CORE, ids=name_of)
def test_core_imports_nothing_that_does_io(file: Path) -> None:
    """Core knows no server, no Redis, no clock, no randomness, no environment and no files."""
    tops = {name.split(".")[0] for name in imports_of(file)}
    assert set() == tops & FORBIDDEN_IN_CORE
    assert libraries_of(file) <= {"limits"}


@pytest.mark.parametrize("file", CORE, ids=name_of)
def test_core_waits_for_nothing_and_reads_no_clock(file: Path) -> None:
    """Core has no coroutine, and calls nothing that reads the time, a file or the console."""
    waiting = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    for node in ast.walk(parse(file)):
        assert not isinstance(node, waiting), f"{name_of(file)}:{node.lineno} waits"
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in CLOCKS_AND_CONSOLE, f"{name_of(file)}:{node.lineno} calls {called}"


@pytest.mark.parametrize("file", ADAPTERS, ids=name_of)
def test_an_adapter_has_one_outside_library(file: Path) -> None:
    """A library can be replaced by changing the one file that imports it, or few of the same name."""
    libraries = libraries_of(file)
    assert len(libraries) <= 1 or libraries == TWO_LIBRARIES.get(name_of(file))


def test_exceptions_are_still_needed() -> None:
    """An exception that is no longer one is removed from the lists above."""
    long_files = {name_of(file) for file in FILES if count_lines(file) > MAXIMUM_FILE_LINES}
    two_libraries = {name_of(file): libraries_of(file) for file in ADAPTERS if len(libraries_of(file)) > 1}
    assert (LONG_FILES & long_files, TWO_LIBRARIES) == (LONG_FILES, two_libraries)


def count_lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_are_short(file: Path) -> None:
    """No file is longer than can be read in one sitting, but for those listed with their reason."""
    assert count_lines(file) <= MAXIMUM_FILE_LINES or name_of(file) in LONG_FILES


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_functions_are_short(file: Path) -> None:
    """No function is longer than a screen."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAXIMUM_FUNCTION_LINES, f"{name_of(file)}:{node.lineno}: {node.name} has {lines} lines"
