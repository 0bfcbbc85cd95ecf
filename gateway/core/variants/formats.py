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
    """Whether it cannot express every name: a check includes it only if it is asked to."""


_TEXT = "text/plain; charset=utf-8"
"""For languages without a registered media type: `video/mp2t`, which some associate with `.ts`, would be wrong."""

FORMATS: Mapping[DocumentKind, Mapping[str, Format]] = {
    "translations": {
        "json": Format("application/json", "json", ("shape", "pretty")),
        "csv": Format("text/csv; charset=utf-8; header=present", "csv", ("bom",)),
        "xml": Format("application/xml; charset=utf-8", "xml", ("shape", "pretty")),
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
    },
}

OFFERED: Mapping[DocumentKind, tuple[Setting, ...]] = {
    "translations": ("format", "shape", "pretty", "bom", "key", "lang", "status"),
    "design-tokens": ("format", "shape", "pretty", "mode"),
}
"""The settings that can be chosen for each kind of document."""
