"""Documents as backends give them, and rules that offer all there is of them."""

import json
from typing import Any

from gateway.core.policies.model import Rule
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, Rendered, Variant
from gateway.core.variants.options import VariantRule
from gateway.core.variants.renderers.text import FORMULA
from gateway.core.variants.rendering import render
from tests.core.samples import load

TRANSLATIONS = DocumentForm("translations")
DESIGN_TOKENS = DocumentForm("design-tokens")

POLICY = """
name = "shop"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["shp_"] }

[[rules]]
match = "GET /projects/{project}/export"
[rules.variants]
document = "translations"
source = "/internal/{project}/texts?full=1"
filename = "texts-{project}"
[rules.variants.options]
format = {}
shape = {}
pretty = {}
key = {}
lang = {}
status = { values = ["draft", "approved", "shipped"], default = ["approved", "shipped"] }

[[rules]]
match = "GET /tokensets/{set}/{mode}"
[rules.variants]
document = "design-tokens"
[rules.variants.options]
format = ["css", "scss", "json", "js", "ts", "less", "tailwind", "dtcg", "style-dictionary", "swift", "kotlin"]
shape = {}
pretty = {}
mode = { parameter = "{mode}" }
"""


def write(document: object) -> bytes:
    return json.dumps(document).encode()


def texts(*entries: dict[str, Any], **fields: object) -> bytes:
    """A document of translations."""
    return write({"entries": entries, **fields})


def entry(key: str, status: str | None = None, **values: object) -> dict[str, Any]:
    """An entry with values by language."""
    return {"id": f"id of {key}", "key": key, "status": status, "values": values}


def tokens(*members: dict[str, Any], modes: tuple[str, ...] = ("light", "dark")) -> bytes:
    """A document of design tokens."""
    return write({"modes": modes, "tokens": members})


def token(name: str, kind: str | None, value: object, **modes: object) -> dict[str, Any]:
    """A token with its value, and its values in some modes."""
    return {"name": name, "type": kind, "value": value, "modes": modes}


def rendered(content: bytes, form: DocumentForm = TRANSLATIONS, **chosen: Any) -> bytes:
    """The content of the variant."""
    found = render(content, form, Variant(**chosen))
    assert isinstance(found, Rendered)
    return found.content


def rendered_json(content: bytes, form: DocumentForm = TRANSLATIONS, **chosen: Any) -> Any:
    """What the variant in JSON says."""
    return json.loads(rendered(content, form, **chosen))


def languages_of(format_: str, *others: tuple[str, ...] | None) -> list[tuple[str, ...] | None]:
    """What a test asks for where it asks for all languages, and `others`: a format of one language has none of all."""
    single = FORMATS["translations"][format_].has_one_language
    return [one for one in (None, *others) if not single or (one is not None and len(one) == 1)]


def read_cell(cell: str) -> str:
    """The text that a quoted cell of CSV stands for: without the apostrophe that keeps it from being a formula."""
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell


def rule_of(path: str, policy: str = POLICY) -> Rule:
    """The rule for a GET of the path."""
    rule = load(policy).match("", "GET", tuple(path[1:].split("/")))
    assert rule is not None
    return rule


def variants_of(path: str, policy: str = POLICY) -> VariantRule:
    """What the rule for a GET of the path offers."""
    variants = rule_of(path, policy).variants
    assert variants is not None
    return variants
