"""A policy with variants of a document of translations, and such documents as its backend gives them."""

import msgspec

from gateway.core.http.messages import Field, Response
from tests.support.exchange_harness import field, ok

POLICY = """
name = "small"
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["sml_"]
[scopes]
read = "Read"
[plans.open]
quotas = { minute = "100/minute" }
[[rules]]
match = "GET /texts/{project}/export"
scopes = ["read"]
cache = { fresh = "1m", stale_if_error = "1h" }
[rules.variants]
document = "translations"
source = "/internal/{project}"
[rules.variants.options]
format = ["json", "csv", "xml"]
shape = ["nested", "flat"]
pretty = {}
lang = {}
[[rules]]
match = "* /**"
"""
EXPORT = "GET /texts/website/export"
GERMAN = f"{EXPORT}?lang=de"
Texts = dict[str, dict[str, str]]
TEXTS: Texts = {"home.title": {"de": "Willkommen", "en": "Welcome", "fr": "Bienvenue"}}


def document(texts: Texts = TEXTS, *fields: Field, etag: bytes = b"") -> Response:
    """A document of translations, as the backend gives it."""
    content = msgspec.json.encode(
        {"entries": [{"id": key, "key": key, "values": values} for key, values in texts.items()]}
    )
    own = [(b"content-type", b"application/json")] + ([(b"etag", etag)] if etag else [])
    return ok(*own, *fields, content=content)


def status_of(answer: Response) -> bytes:
    """Its Cache-Status, empty where it has none."""
    return field(answer, b"cache-status") or b""


def change(**values: str) -> Texts:
    """The texts with some languages of the one text said otherwise."""
    return {"home.title": TEXTS["home.title"] | values}
