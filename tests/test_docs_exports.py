"""The documents and variants of docs/guide/exports.md: what it shows is what the gateway makes of them."""

import re

import pytest

from gateway.core.variants.model import Rendered, Variant
from gateway.core.variants.options import parse_variant
from gateway.core.variants.rendering import render
from tests.core.samples import load
from tests.support.documents import page

PAGE = page("guide/exports.md")
BLOCKS = re.findall(r"^(?:`([^`\n]+)`[^\n]*\n\n)?```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
"""What stands between backticks in the line before it, its language, its text."""
HEADER = """
name = "page"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["rme_"] }
scopes = { read = "Read", "exports:read" = "Pull exports" }
"""


def examples() -> list[tuple[str, str, str, str]]:
    """Policy, document, query or path, and content of each example; a policy and a document are for all after them."""
    found, policy, document = [], "", ""
    for asked, language, text in BLOCKS:
        if language == "toml":
            policy = text
        elif asked:
            found.append((policy, document, asked, text))
        else:
            document = text
    return found


@pytest.mark.parametrize(("policy", "document", "asked", "content"), examples(), ids=[one[2] for one in examples()])
def test_a_variant_is_as_the_page_shows_it(policy: str, document: str, asked: str, content: str) -> None:
    """Byte for byte, but for the line breaks of CSV."""
    path, _, query = asked.partition("?")
    full = f"/api/v1/tokensets/brand{path}" if path else "/api/v1/projects/website/export"
    segments = tuple(full[1:].split("/"))
    rule = load(HEADER + policy).match("", "GET", segments)
    assert rule is not None
    assert rule.variants is not None
    variant = parse_variant(rule.variants, query, segments)
    assert isinstance(variant, Variant)
    made = render(document.encode(), rule.variants.form, variant)
    assert isinstance(made, Rendered)
    assert content == made.content.decode().replace("\r\n", "\n")


def test_the_page_shows_one_document_in_five_variants() -> None:
    """Translations as nested and flat JSON, CSV, XML and Android's; and design tokens as CSS and Swift."""
    shown = [
        (document, language)
        for document, (_, language, _) in zip(
            [one[1] for one in examples()], [block for block in BLOCKS if block[0]], strict=True
        )
    ]
    assert ["json", "json", "csv", "xml", "xml", "css", "swift"] == [language for _, language in shown]
    assert [1, 1] == [len({document for document, _ in some}) for some in (shown[:5], shown[5:])]
