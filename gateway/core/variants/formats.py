"""The formats of each kind of document. A new one is a line here, a renderer and a line in
rendering.py: docs/development/contributing.md lists what else; what is forgotten fails a test.

Policies are read with this table alone: no renderer is imported to check a policy file or to mint a token.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.variants.model import DocumentKind, Setting


class Format(msgspec.Struct, frozen=True):
    """How a variant is written. `heeds`: of shape, pretty and bom, what makes a difference to it."""

    media_type: str
    extension: str
    heeds: tuple[Setting, ...] = ()
    limits_names: bool = False
    """Whether it cannot have every name or text: a check looks at it only if it is asked to."""
    has_one_language: bool = False
    """Whether a file of it is in one language, so that a request has to say which."""
    adds_source: bool = False
    """Whether the texts of the document's source language stand beside those that are asked for."""


_TEXT = "text/plain; charset=utf-8"
"""Of languages without a registered media type: `video/mp2t`, by which some know `.ts`, would be a lie."""

FORMATS: Mapping[DocumentKind, Mapping[str, Format]] = {
    "translations": {
        "json": Format("application/json", "json", ("shape", "pretty")),
        "csv": Format("text/csv; charset=utf-8; header=present", "csv", ("bom",)),
        "xml": Format("application/xml; charset=utf-8", "xml", ("shape", "pretty")),
        "i18next": Format("application/json", "json", ("shape", "pretty")),
        "android": Format("application/xml; charset=utf-8", "xml", limits_names=True, has_one_language=True),
        "strings": Format(_TEXT, "strings", has_one_language=True),
        "xcstrings": Format("application/json", "xcstrings", ("pretty",)),
        "arb": Format("application/json", "arb", ("pretty",), limits_names=True, has_one_language=True),
        "po": Format(_TEXT, "po", limits_names=True, has_one_language=True),
        "properties": Format(_TEXT, "properties", has_one_language=True),
        "xliff": Format("application/xliff+xml", "xlf", limits_names=True, has_one_language=True, adds_source=True),
        "yaml": Format("application/yaml", "yml", limits_names=True),
    },
    "design-tokens": {
        "json": Format("application/json", "json", ("shape", "pretty")),
        "css": Format("text/css; charset=utf-8", "css"),
        "scss": Format(_TEXT, "scss"),
        "js": Format("text/javascript; charset=utf-8", "js", ("shape", "pretty")),
        "ts": Format(_TEXT, "ts", ("shape", "pretty")),
        "less": Format(_TEXT, "less", limits_names=True),
        "tailwind": Format("text/css; charset=utf-8", "css"),
        "dtcg": Format("application/design-tokens+json", "tokens.json", ("pretty",)),
        "style-dictionary": Format("application/json", "json", ("pretty",)),
        "swift": Format(_TEXT, "swift", limits_names=True),
        "kotlin": Format(_TEXT, "kt", limits_names=True),
    },
}

OFFERED: Mapping[DocumentKind, tuple[Setting, ...]] = {
    "translations": ("format", "shape", "pretty", "bom", "key", "lang", "status"),
    "design-tokens": ("format", "shape", "pretty", "mode"),
}
"""What can be chosen of each kind of document."""
