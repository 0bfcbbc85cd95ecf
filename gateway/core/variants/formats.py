"""The formats of each kind of document: one table.

A new format is a row here, a renderer and a row in rendering.py: docs/development/contributing.md lists what else; what
is forgotten fails a test. Policies are read with this table alone: no renderer is imported to check a policy file or to
mint a token.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.variants.model import DocumentKind, Setting


class Format(msgspec.Struct, frozen=True):
    """How a variant is written. `heeds` names which of shape, pretty and bom make a difference."""

    media_type: str
    extension: str
    heeds: tuple[Setting, ...] = ()
    limits_names: bool = False
    """Whether it cannot express every name or text: a check includes it only if it is asked to."""
    has_one_language: bool = False
    """Whether a file is in one language, so that a request has to say which."""
    adds_source: bool = False
    """Whether the texts of the document's source language stand beside the requested ones."""


_TEXT = "text/plain; charset=utf-8"
"""For languages without a registered media type: `video/mp2t`, which some associate with `.ts`, would be wrong."""

FORMATS: Mapping[DocumentKind, Mapping[str, Format]] = {
    "translations": {
        "json": Format("application/json", "json", ("shape", "pretty")),
        "csv": Format("text/csv; charset=utf-8; header=present", "csv", ("bom",)),
        "xml": Format("application/xml; charset=utf-8", "xml", ("shape", "pretty")),
        "i18next": Format("application/json", "json", ("shape", "pretty")),
        "android": Format("application/xml; charset=utf-8", "xml", limits_names=True, has_one_language=True),
        "strings": Format(_TEXT, "strings", has_one_language=True),
        "stringsdict": Format(
            "application/xml; charset=utf-8", "stringsdict", limits_names=True, has_one_language=True
        ),
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
"""The settings that can be chosen for each kind of document."""
