"""The roles of the folders, read off the syntax trees: imports go one way, core does no IO, functions are short.

A test is one rule. It lists all places that break the rule, as `file:line: what`.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "gateway").rglob("*.py"))
CORE = [file for file in FILES if "core" in file.relative_to(ROOT).parts]
ADAPTERS = [file for file in FILES if "adapters" in file.relative_to(ROOT).parts]

LAYERS = (
    "core",
    "adapters",
    "pipeline",
    "management",
    "server",
    "admin",
    "pages",
    "litestar_plugin",
    "app",
    "admin_app",
    "pull",
    "cli",
    "demo",
    "plugin",
    "testing",
)
"""From the innermost to the outermost: a layer may import itself and those before it."""
MAY_IMPORT = {
    **{layer: LAYERS[: number + 1] for number, layer in enumerate(LAYERS)},
    "settings": ("core",),
    "pull": ("pull",),
    "__main__": ("cli",),
    "__init__": (),
}
SETTINGS_READERS = {"settings", "app", "admin_app", "cli", "demo", "plugin"}
MAXIMUM_MODULES = 14
"""Of one folder: what one can take in at a glance."""
ONLY_FOR = {
    "gateway.pages": {"gateway.admin_app"},
    "gateway.litestar_plugin": {"gateway.plugin"},
    "gateway.core.pages": {"gateway.adapters.redis.sessions", "gateway.management.management", "gateway.pages"},
    "gateway.core.variants": {
        "gateway.adapters.renderer",
        "gateway.adapters.renderer_process",
        "gateway.cli.exports",
        "gateway.core.pages.export_urls",
        "gateway.core.policies.compile_variants",
        "gateway.demo.backend.design_tokens",
        "gateway.pipeline",
    },
}
"""Rooms that could be left out of the gateway, with the modules and rooms that may import them: nobody else does.

What these need of the gateway they are given by a port: `Pages` of pages/common.py, `Parts` of litestar_plugin/gate.py,
`Variants` of pipeline/fetch.py with `Renderer` of pipeline/variants.py.
"""
PORTS = {"gateway.core.variants.model", "gateway.core.variants.options"}
"""Modules of such rooms that anybody may import: the words in which others speak of what is in the room."""
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
    "gateway/adapters/redis/connection.py": {"fakeredis", "redis"},
    "gateway/adapters/redis/private.py": {"hiredis", "redis"},
}
"""The embedded store stands in for Redis behind the same client, so it is chosen where the client is opened. hiredis is
what redis-py packs and reads with: the file that changes its connections knows both."""

CHANGE = re.compile(r"tokens\.(create\w*|exchange|replace|rotate|revoke\w*)\(|owners\.replace\(")
"""What RedisTokens and RedisOwners do to what is stored."""

MAXIMUM_FUNCTION_LINES = 50
MAXIMUM_CLASSES_OF_A_NAME = 3
"""A public method that many classes have and no Protocol declares says too little at its calls."""

PULL = [file for file in FILES if file.parent == ROOT / "gateway" / "pull"]
PULL_LIBRARIES = {"click", "msgspec", "pycurl"}
"""What is installed where `gateway pull` runs without a server: deploy/pull/pyproject.toml."""


def test_imports_are_absolute() -> None:
    """The name of what is imported says which layer it is of. gateway/pull has two names, so it uses neither."""
    assert [] == [
        f"{place(file, node)}: relative import"
        for file in FILES
        if file not in PULL
        for node in ast.walk(parse(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def test_imports_go_one_way() -> None:
    """The command line imports the server, the server the pipeline and so on down to core, never back."""
    assert [] == [
        f"{place(file, node)}: {layer_of_file(file)} imports {module}"
        for file in FILES
        for node, module in own_imports_of(file)
        if layer_of(module) not in {*MAY_IMPORT.get(layer_of_file(file), ()), "settings"}
    ]


def test_rooms_are_known_to_few() -> None:
    """What could be left out of the gateway is imported where it is put together, and nowhere else.

    Whoever no longer imports a room is removed from ONLY_FOR.
    """
    found: dict[str, set[str]] = {room: set() for room in ONLY_FOR}
    for room, importers in ONLY_FOR.items():
        for file in FILES:
            own = module_of(file)
            if not is_in(own, room) and any(
                is_in(imported, room) and not is_in_one(imported, PORTS) for _, imported in own_imports_of(file)
            ):
                found[room].add(next((one for one in importers if is_in(own, one)), own))
    assert found == ONLY_FOR


def test_pull_stands_alone() -> None:
    """It runs without the rest of the gateway: it imports its own modules, relatively, and few libraries."""
    imports = [
        (file, node, alias.name if isinstance(node, ast.Import) else node.module or "")
        for file in PULL
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for alias in node.names
    ]
    assert [] == [
        f"{place(file, node)}: imports {module}"
        for file, node, module in imports
        if top_of(module) not in {*sys.stdlib_module_names, *PULL_LIBRARIES}
    ]
    assert PULL_LIBRARIES <= {top_of(module) for _, _, module in imports}


def test_folders_are_not_wide() -> None:
    """A folder has at most MAXIMUM_MODULES modules, beside the folders in it."""
    modules = Counter(file.parent for file in FILES if file.name != "__init__.py")
    assert [] == [f"{name_of(folder)}: {count} modules" for folder, count in modules.items() if count > MAXIMUM_MODULES]


def test_every_file_is_of_a_layer() -> None:
    """A new layer is added to LAYERS, at its place in the order."""
    assert [] == [name_of(file) for file in FILES if layer_of_file(file) not in MAY_IMPORT]


def test_only_the_outside_reads_settings() -> None:
    """Settings are known to the composition root and the command line; everything else is given what it needs."""
    assert [] == [
        f"{place(file, node)}: {layer_of_file(file)} imports settings"
        for file in FILES
        for node, module in own_imports_of(file)
        if layer_of(module) == "settings" and layer_of_file(file) not in SETTINGS_READERS
    ]


def test_tokens_are_changed_by_management_only() -> None:
    """So no door can change a token or an owner without an actor and an entry of the history."""
    assert [] == [
        f"{name_of(file)}:{number}: {found[0]}"
        for file in FILES
        if not {"adapters", "management"} & set(file.relative_to(ROOT).parts)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if (found := CHANGE.search(line))
    ]


def test_a_credential_is_checked_in_one_place() -> None:
    """Only the authenticator makes a digest of what a request presents, so none forgets the guard against guessing."""
    both = {"gateway.core.tokens.credentials.find_credential", "gateway.core.tokens.text.digest"}
    found = [name_of(file) for file in FILES if file not in CORE and both <= {one for _, one in imports_of(file)}]
    assert ["gateway/pipeline/authenticator.py"] == found


def test_core_imports_nothing_that_does_io() -> None:
    """Core knows no server, no Redis, no clock, no randomness, no environment and no files."""
    assert [] == [
        f"{place(file, node)}: imports {module}"
        for file in CORE
        for node, module in imports_of(file)
        if top_of(module) in FORBIDDEN_IN_CORE or is_library(module)
    ]


def test_core_waits_for_nothing() -> None:
    """Core has no coroutine."""
    waiting = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert [] == [
        f"{place(file, node)}: waits" for file in CORE for node in ast.walk(parse(file)) if isinstance(node, waiting)
    ]


def test_core_reads_no_clock() -> None:
    """Core calls nothing that reads the time, a file or the console."""
    assert [] == [
        f"{place(file, node)}: calls {name_of_called(node)}"
        for file in CORE
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Call) and name_of_called(node) in CLOCKS_AND_CONSOLE
    ]


def test_an_adapter_has_one_outside_library() -> None:
    """A library can be replaced by changing the one file that imports it, or few of the same name.

    An exception that is no longer one is removed from TWO_LIBRARIES.
    """
    libraries = {name_of(file): libraries_of(file) for file in ADAPTERS}
    assert TWO_LIBRARIES == {name: several for name, several in libraries.items() if len(several) > 1}


def test_nothing_is_written_past_a_pause() -> None:
    """`write` pauses; asyncio's `writelines` does not in Python 3.12.0 to 3.12.8, 3.13.0, 3.13.1 (CVE-2024-12254)."""
    assert [] == [name_of(file) for file in FILES if ".writelines(" in file.read_text(encoding="utf-8")]


def test_functions_are_short() -> None:
    """No function is longer than a screen."""
    assert [] == [
        f"{place(file, node)}: {node.name} has {count_lines(node)} lines"
        for file in FILES
        for node in ast.walk(parse(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and count_lines(node) > MAXIMUM_FUNCTION_LINES
    ]


def test_a_method_name_belongs_to_few_classes() -> None:
    """A public method's name is in at most MAXIMUM_CLASSES_OF_A_NAME classes, unless it is declared for all of them.

    A class that has all methods of a Protocol has its names from there, an override has its name from the class that it
    overrides, also one of a library, and Litestar calls the handlers of routes. Properties are no methods.
    """
    owners: dict[str, list[str]] = {}
    for found in classes().values():
        for name in sorted(found.own_names()):
            owners.setdefault(name, []).append(f"{found.module}.{found.node.name}")
    assert [] == [
        f"{name}: {len(having)} classes: {', '.join(having)}"
        for name, having in owners.items()
        if len(having) > MAXIMUM_CLASSES_OF_A_NAME
    ]


@dataclass(frozen=True)
class ClassOfFile:
    """A class of the package, and what the names mean that its file imports: short name to full name."""

    module: str
    node: ast.ClassDef
    imported: Mapping[str, str]

    @property
    def is_protocol(self) -> bool:
        return "typing.Protocol" in self.bases

    @property
    def bases(self) -> list[str]:
        """The full names of the classes that it is made of."""
        return [self.full_name(base.value if isinstance(base, ast.Subscript) else base) for base in self.node.bases]

    def full_name(self, node: ast.expr) -> str:
        first, _, rest = ast.unparse(node).partition(".")
        return f"{self.imported.get(first, f'{self.module}.{first}')}{'.' * bool(rest)}{rest}"

    def methods(self) -> dict[str, bool]:
        """Its public methods but for handlers of routes and properties, each with whether it is awaited."""
        return {
            one.name: isinstance(one, ast.AsyncFunctionDef) or "Awaitable[" in ast.unparse(one.returns or one.args)
            for one in self.node.body
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            and not one.name.startswith("_")
            and not any(self.is_exempt(decorator) for decorator in one.decorator_list)
        }

    def is_exempt(self, decorator: ast.expr) -> bool:
        called = self.full_name(decorator.func if isinstance(decorator, ast.Call) else decorator)
        return top_of(called) == "litestar" or called.endswith((".property", ".cached_property"))

    def own_names(self) -> set[str]:
        """The names of its methods that no Protocol and no class above it declares."""
        own = self.methods()
        declared = {name for protocol in protocols() if protocol.items() <= own.items() for name in protocol}
        return {name for name in own if name not in declared and not any(has_method(base, name) for base in self.bases)}


@cache
def classes() -> dict[str, ClassOfFile]:
    """The classes of the package by their full names."""
    found: dict[str, ClassOfFile] = {}
    for file in FILES:
        module = name_of(file).removesuffix(".py").replace("/", ".")
        imported = names_imported_by(file)
        for node in parse(file).body:
            if isinstance(node, ast.ClassDef):
                found[f"{module}.{node.name}"] = ClassOfFile(module, node, imported)
    return found


@cache
def protocols() -> list[dict[str, bool]]:
    """The methods of each Protocol of the package."""
    return [found.methods() for found in classes().values() if found.is_protocol]


def names_imported_by(file: Path) -> dict[str, str]:
    """What names mean that a file imports at its top: short name to full name."""
    found: dict[str, str] = {}
    for node in parse(file).body:
        if isinstance(node, ast.Import):
            found |= {
                alias.asname or top_of(alias.name): alias.name if alias.asname else top_of(alias.name)
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{source_of(file, node)}.{alias.name}" for alias in node.names}
    return found


def has_method(full_name: str, name: str) -> bool:
    """Whether a class of the package, or one of a library, has the method or inherits it."""
    known = classes().get(full_name)
    if known is not None:
        return name in known.methods() or any(has_method(base, name) for base in known.bases)
    module, _, class_name = full_name.rpartition(".")
    return top_of(module) != "gateway" and hasattr(getattr(import_module(module), class_name, object), name)


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def place(file: Path, node: ast.stmt | ast.expr) -> str:
    return f"{name_of(file)}:{node.lineno}"


def layer_of(module: str) -> str:
    """`gateway.core.http.fields` is of the layer core; `gateway` and `gateway.__main__` are of none."""
    return [*module.split("."), ""][1]


def layer_of_file(file: Path) -> str:
    return layer_of(module_of(file))


def module_of(file: Path) -> str:
    return name_of(file).removesuffix(".py").replace("/", ".")


def is_in(module: str, room: str) -> bool:
    """Return whether a module, or what is imported of it, is the room or is in it."""
    return f"{module}.".startswith(f"{room}.")


def is_in_one(module: str, rooms: Iterable[str]) -> bool:
    return any(is_in(module, room) for room in rooms)


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imports_of(file: Path) -> Iterator[tuple[ast.stmt, str]]:
    """The full names of the modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{source_of(file, node)}.{alias.name}") for alias in node.names)


def source_of(file: Path, node: ast.ImportFrom) -> str:
    """The full name of the module that names are imported from, also relatively."""
    package = name_of(file.parent).replace("/", ".")
    return ".".join(filter(None, [package if node.level else "", node.module]))


def own_imports_of(file: Path) -> Iterator[tuple[ast.stmt, str]]:
    for node, module in imports_of(file):
        if top_of(module) == "gateway" and layer_of(module) not in {"", "__version__"}:
            yield node, module


def top_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def is_library(module: str) -> bool:
    return top_of(module) not in {*sys.stdlib_module_names, *STANDARD_LATER, *ALLOWED_EVERYWHERE}


def libraries_of(file: Path) -> set[str]:
    return {top_of(module) for _, module in imports_of(file) if is_library(module)}


def name_of_called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def count_lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1
