"""What is installed: the lock, held to pyproject.toml, and what the package says of itself."""

import re
import runpy
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gateway
import gateway.pull

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

LOCKED = [Requirement(line.removesuffix("\\").strip()) for line in re.findall(r"^[a-z0-9].*", LOCK, re.MULTILINE)]
ASKED = [
    Requirement(text)
    for text in [
        *PROJECT["dependencies"],
        *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
    ]
]
OTHERS = [requirement for requirement in ASKED if requirement.name != PROJECT["name"]]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("linux", "darwin")


def locked_version(name: str, python: str, platform: str) -> Version | None:
    """Return the version that the lock pins for a Python and a platform, or None."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": platform}
    for entry in LOCKED:
        if canonicalize_name(name) == entry.name and holds(entry.marker, environment):
            return Version(str(entry.specifier).removeprefix("=="))
    return None


def holds(marker: Marker | None, environment: dict[str, str]) -> bool:
    return marker is None or marker.evaluate(environment)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_lock_has_what_pyproject_asks_for(python: str, platform: str) -> None:
    """For each Python and platform, each dependency of the package and of its extras is pinned within its range."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": platform}
    asked = [requirement for requirement in OTHERS if holds(requirement.marker, environment)]
    pinned = [(requirement, locked_version(requirement.name, python, platform)) for requirement in asked]
    assert [] == [
        str(requirement)
        for requirement, version in pinned
        if version is None or not requirement.specifier.contains(version)
    ]


def test_the_lock_has_what_the_extras_of_others_ask_for() -> None:
    """`redis[hiredis]` is pinned with hiredis, on the newest Python too."""
    environment = {"python_version": PYTHONS[-1], "python_full_version": f"{PYTHONS[-1]}.0", "sys_platform": "linux"}
    found = [
        Requirement(text).name
        for requirement in OTHERS
        for extra in requirement.extras
        for text in metadata.requires(requirement.name) or ()
        if (marker := Requirement(text).marker)
        and "extra" in str(marker)
        and marker.evaluate({**environment, "extra": extra})
    ]
    assert {"cryptography", "hiredis", "lupa"} <= set(found)
    assert [] == [name for name in found if locked_version(name, PYTHONS[-1], "linux") is None]


def test_each_locked_package_has_one_version_and_hashes() -> None:
    """What is installed is what was locked, byte for byte."""
    entries = re.findall(r"^[a-z0-9].*\n(?:[ #].*\n)*", LOCK, re.MULTILINE)
    assert len(LOCKED) == len(entries)
    assert [] == [entry for entry in entries if not re.match(r"\S+==\S+ .*\\\n    --hash=sha256:[0-9a-f]{64}", entry)]


def test_the_lock_names_no_place() -> None:
    """No registry and no folder is named: whoever installs has an index of their own."""
    said = re.sub(r"\(pyproject\.toml\)", "", LOCK)
    assert [] == re.findall(r".*(?:://|\.(?:org|com|io|net|dev)\b|--(?:index|extra|find)|[ =]/).*", said)


def test_what_can_break_the_gateway_has_a_ceiling() -> None:
    """A library that a user's program runs on has a next version that the gateway was not tried with."""
    product = [
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["embedded"],
        *PROJECT["optional-dependencies"]["demo"],
    ]
    requirements = [requirement for requirement in map(Requirement, product) if requirement.name != PROJECT["name"]]
    bounds = {requirement.name: {bound.operator for bound in requirement.specifier} for requirement in requirements}
    assert {} == {name: operators for name, operators in bounds.items() if operators != {">=", "<"}}


def test_the_distribution_of_gateway_pull_is_that_of_the_gateway() -> None:
    """One version, and bounds of packages that the gateway has too: at most four beside itself."""
    pull = tomllib.loads((ROOT / "deploy" / "pull" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(pull["dependencies"]) <= {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["pull"]}
    assert len(pull["dependencies"]) <= 4
    assert (PROJECT["requires-python"], PROJECT["license"]) == (pull["requires-python"], pull["license"])
    assert gateway.__version__ == gateway.pull.__version__


def test_pictures_of_the_readme_have_absolute_addresses() -> None:
    """A package index shows README.md without the files beside it; the pictures are files of this repository."""
    shown = re.findall(r'!\[[^]]*\]\(([^)]+)\)|<img src="([^"]+)"', README)
    pictures = [first or second for first, second in shown]
    beginning = PROJECT["urls"]["Source"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    assert [] == [picture for picture in pictures if not (ROOT / picture.removeprefix(beginning)).is_file()]
    assert [] == [picture for picture in pictures if not picture.startswith(beginning)]
    assert pictures


@pytest.mark.parametrize("extra", ["proxies", "docs", "plots"])
def test_an_extra_that_is_installed_by_itself_takes_nothing_from_the_rest(extra: str) -> None:
    """`make install` leaves out what only the extra needs; nothing that it installs needs any of that."""
    install = runpy.run_path(str(ROOT / ".ci" / "install.py"))
    alone = install["names_of_extra"](extra)
    wanted_by = [(name, install["read_reasons"](entry)) for name, entry in install["read_lock"]()]
    others = [
        canonicalize_name(Requirement(text).name)
        for named, texts in {**PROJECT["optional-dependencies"], "": PROJECT["dependencies"]}.items()
        for text in texts
        if named != extra
    ]
    assert set() == alone - {name for name, _ in wanted_by}
    assert set() == alone & {*others}
    assert [] == [
        (name, reasons) for name, reasons in wanted_by if name in alone and reasons - alone - {PROJECT["name"]}
    ]
