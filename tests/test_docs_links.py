"""What the documentation names is there: pages, anchors, files, commands with their options, generated parts."""

import posixpath
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

import click
import pytest

from gateway.cli.main import commands
from tests.support.documents import DOCUMENTS, PAGES, ROOT, anchors, blocks, page, prose, read

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
OF_THE_REPOSITORY = ("gateway/", "tests/", "deploy/", "policies/", "benchmarks/", "docs/", ".ci/")
OTHERS = ("https://", "http://", "mailto:")
MOST_LINES_OF_README = 150
MOST_LINES_OF_ARCHITECTURE = 150
SECTIONS_OF_A_DECISION = ["Context", "Decision", "Alternatives", "Consequences"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    """To a file of the repository, and to a heading of it where an anchor is named."""
    lost = []
    for link in LINK.findall(prose(read(document))):
        if link.startswith(OTHERS):
            continue
        path, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), path)) if path else document
        if not (ROOT / target).exists() or (anchor and anchor not in anchors(read(target))):
            lost.append(link)
    assert [] == lost


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_every_file_that_is_named_exists(document: str) -> None:
    """A path of the repository between backticks; the changelog names what was there."""
    named = [
        code for code in CODE.findall(prose(read(document))) if code.startswith(OF_THE_REPOSITORY) and " " not in code
    ]
    assert [] == [path for path in named if not any(ROOT.glob(path.rstrip("/")))]


def test_every_page_is_in_the_table_of_contents_and_on_the_site() -> None:
    """docs/index.md and .ci/mkdocs.yml list all pages; docs/decisions/README.md lists all decisions."""
    pages = {file.relative_to(PAGES).as_posix() for file in PAGES.rglob("*.md")}
    decisions = {name for name in pages if re.match(r"decisions/\d{4}-", name)}
    rest = pages - decisions
    assert rest - {"index.md"} == {link for link in LINK.findall(page("index.md")) if not link.startswith("..")}
    assert rest == set(re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", read(".ci/mkdocs.yml"), re.MULTILINE))
    assert decisions == {f"decisions/{link}" for link in LINK.findall(page("decisions/README.md")) if link[0].isdigit()}


def test_readme_lists_the_pages() -> None:
    """README.md leads to every page of docs/ but the decisions, each of which their list leads to."""
    pages = {f"docs/{file.relative_to(PAGES).as_posix()}" for file in PAGES.rglob("*.md")}
    numbered = {name for name in pages if re.match(r"docs/decisions/\d{4}-", name)}
    assert set() == pages - numbered - set(LINK.findall(read("README.md")))


def test_doors_are_short() -> None:
    """README.md and the page about the architecture stay within a few screens."""
    assert len(read("README.md").splitlines()) <= MOST_LINES_OF_README
    assert len(page("development/architecture.md").splitlines()) <= MOST_LINES_OF_ARCHITECTURE


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if re.match(r"docs/decisions/\d{4}-", name)])
def test_a_decision_has_all_parts(document: str) -> None:
    """Its number, its status, and four sections in order."""
    text, number = read(document), PurePosixPath(document).name[:4]
    assert text.startswith(f"# {number}: ")
    assert re.search(
        r"^Status: (accepted|replaced by \d{4}) \(20\d\d-\d\d-\d\d(, 20\d\d-\d\d-\d\d)*\)$", text, re.MULTILINE
    )
    assert SECTIONS_OF_A_DECISION == re.findall(r"^## (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "name",
    [
        "reference/command-line.md",
        "reference/policy-keys.md",
        "reference/management-api.md",
        "development/redis-layout.md",
    ],
)
def test_the_reference_is_what_the_code_says(name: str) -> None:
    """`make reference` would change nothing."""
    made = runpy.run_path(str(ROOT / ".ci" / "reference.py"))["build_pages"]()
    assert made[name] == page(name)


def told_commands(document: str) -> Iterator[str]:
    """The commands of `gateway` that a document tells: in shell blocks, in indented lines and between backticks."""
    text = read(document)
    lines = [line for language in ("console", "sh") for block in blocks(text, language) for line in block.splitlines()]
    lines += re.findall(r"^    (gateway .+)$", text, re.MULTILINE)
    lines += [code for code in CODE.findall(prose(text)) if code.startswith("gateway ")]
    for line in lines:
        if found := re.search(r"(?:^|\$ |\$\()gateway (.*)", line):
            yield re.split(r" [|>&#]|\) *\|", found[1])[0]


def find_mistakes(told: str) -> Iterator[str]:
    """What the command line does not have of a command: the command, or one of its options."""
    words = shlex.split(told.replace("[", "").replace("]", "").replace("'", "").replace('"', ""))
    command: click.Command = commands
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        yield f"{told}: no command {words[0]}"
    options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    yield from (f"{told}: no option {word}" for word in words if word.startswith("--") and word not in options)


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_every_command_that_is_told_exists(document: str) -> None:
    """With each of its options."""
    assert [] == [mistake for told in told_commands(document) for mistake in find_mistakes(told)]
