"""The formats of each kind of document. A new one is a file under renderers/ and a line here."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.variants.renderers.csv_texts import render_csv
from gateway.core.variants.renderers.json_texts import render_json
from gateway.core.variants.renderers.stylesheets import render_css, render_scss
from gateway.core.variants.renderers.token_objects import render_dtcg, render_js, render_token_json, render_ts
from gateway.core.variants.renderers.xml_texts import render_xml
from gateway.core.variants.variant import DocumentKind, Setting, Variant


class Format(msgspec.Struct, frozen=True):
    """How a variant is written. `heeds`: of shape and pretty, what makes a difference to it."""

    render: Callable[[Any, Variant], Iterator[bytes]]
    media_type: str
    extension: str
    heeds: tuple[Setting, ...] = ()


_TEXT = "text/plain; charset=utf-8"
"""Of languages without a registered media type: `video/mp2t`, by which some know `.ts`, would be a lie."""

FORMATS: Mapping[DocumentKind, Mapping[str, Format]] = {
    "translations": {
        "json": Format(render_json, "application/json", "json", ("shape", "pretty")),
        "csv": Format(render_csv, "text/csv; charset=utf-8; header=present", "csv"),
        "xml": Format(render_xml, "application/xml; charset=utf-8", "xml", ("shape", "pretty")),
    },
    "design-tokens": {
        "json": Format(render_token_json, "application/json", "json", ("shape", "pretty")),
        "css": Format(render_css, "text/css; charset=utf-8", "css"),
        "scss": Format(render_scss, _TEXT, "scss"),
        "js": Format(render_js, "text/javascript; charset=utf-8", "js", ("shape", "pretty")),
        "ts": Format(render_ts, _TEXT, "ts", ("shape", "pretty")),
        "dtcg": Format(render_dtcg, "application/design-tokens+json", "tokens.json", ("pretty",)),
    },
}

OFFERED: Mapping[DocumentKind, tuple[Setting, ...]] = {
    "translations": ("format", "shape", "pretty", "key", "lang", "status"),
    "design-tokens": ("format", "shape", "pretty", "mode"),
}
"""What can be chosen of each kind of document."""
