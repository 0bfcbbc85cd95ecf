"""The documentation, for tests that hold it to the code."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"
DOCUMENTS = sorted(
    file.relative_to(ROOT).as_posix()
    for file in [
        *ROOT.glob("*.md"),
        *PAGES.rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]
)
"""All that people read here, by paths from the root of the repository."""
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(document: str) -> str:
    """The text of a document, by its path from the root of the repository."""
    return (ROOT / document).read_text(encoding="utf-8")


def page(name: str) -> str:
    """The text of a page of docs/."""
    return read(f"docs/{name}")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [block for named, block in FENCED.findall(text) if named == language]


def prose(text: str) -> str:
    """The text without what stands in fenced blocks."""
    return FENCED.sub("", text)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as code hosts make them."""
    titles = re.findall(r"^#{1,6} (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
