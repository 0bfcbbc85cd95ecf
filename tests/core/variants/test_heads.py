"""How a document is asked for, and what the answer with a variant of it says."""

import pytest

from gateway.core.errors import BrokenDocument
from gateway.core.http.messages import Field, ResponseHead, field_value, field_values
from gateway.core.variants.exchange_heads import build_document_fields, build_source, build_variant_head
from gateway.core.variants.model import Rendered, Variant
from gateway.core.variants.options import VariantRule
from tests.core.variants.samples import POLICY, variants_of

SEGMENTS = ("projects", "website", "export")
TEXTS = variants_of("/projects/website/export")
TOKENS = variants_of("/tokensets/acme/light")


def head_of(rule: VariantRule, variant: Variant, segments: tuple[str, ...], *fields: Field) -> ResponseHead:
    return build_variant_head(rule, variant, segments, ResponseHead(200, list(fields)), Rendered(b"a" * 42, b'W/"x"'))


def fields_of(rule: VariantRule, variant: Variant, segments: tuple[str, ...]) -> list[Field]:
    return head_of(rule, variant, segments).fields


def test_a_document_is_asked_for_as_it_is() -> None:
    """What one client would like, in which language or coding or since when, is no matter of the document."""
    asked = [(b"accept", b"text/csv"), (b"accept-encoding", b"br"), (b"accept-language", b"de"), (b"x-a", b"1")]
    conditional = [(b"if-none-match", b"*"), (b"range", b"bytes=0-1")]
    assert [(b"x-a", b"1"), (b"accept", b"application/json")] == build_document_fields([*asked, *conditional])


def test_what_is_said_of_content_is_the_variants() -> None:
    """Tag, type, length and dates of the document are not the variant's; freshness and groups are."""
    kept = [(b"cache-control", b"max-age=60"), (b"vary", b"x-a"), (b"cache-groups", b'"a"')]
    dropped = [
        (b"etag", b'"document"'),
        (b"content-type", b"application/json"),
        (b"content-length", b"9"),
        (b"last-modified", b"Sat, 21 Nov 2026 00:00:00 GMT"),
        (b"content-digest", b"sha-256=:AA==:"),
    ]
    found = head_of(TEXTS, Variant(format="csv"), SEGMENTS, *kept, *dropped)
    assert kept == found.fields[:3]
    assert [b'W/"x"'] == field_values(found.fields, b"etag")
    assert [b"42"] == field_values(found.fields, b"content-length")
    assert 200 == found.status
    assert None is field_value(found.fields, b"last-modified")


def test_a_compressed_document_is_refused() -> None:
    """It was not asked to be, and is not taken for JSON."""
    with pytest.raises(BrokenDocument, match="compressed"):
        head_of(TEXTS, Variant(), SEGMENTS, (b"content-encoding", b"gzip"))
    assert head_of(TEXTS, Variant(), SEGMENTS, (b"content-encoding", b"identity"))


def test_the_document_is_where_the_policy_says() -> None:
    """Parameters of the path are put into the source, encoded: none can become a path or a query of its own."""
    assert "/internal/website/texts?full=1" == build_source(TEXTS, "/projects/website/export", SEGMENTS)
    odd = build_source(TEXTS, "/projects/x/export", ("projects", "a&b=c d?é", "export"))
    assert "/internal/a%26b%3Dc%20d%3F%C3%A9/texts?full=1" == odd


def test_without_a_source_the_document_is_at_the_same_path() -> None:
    """The backend is asked for what the client was, without its options."""
    assert "/tokensets/acme/light" == build_source(TOKENS, "/tokensets/acme/light", ("tokensets", "acme", "light"))


@pytest.mark.parametrize(
    ("variant", "media_type", "filename"),
    [
        (Variant(), b"application/json", b"texts-website.json"),
        (Variant(format="csv", lang=("de",)), b"text/csv; charset=utf-8; header=present", b"texts-website.de.csv"),
        (Variant(format="xml", lang=("de", "en")), b"application/xml; charset=utf-8", b"texts-website.xml"),
    ],
)
def test_the_head_says_what_the_content_is(variant: Variant, media_type: bytes, filename: bytes) -> None:
    """Type, length and a file name; nothing is guessed from the content."""
    fields = fields_of(TEXTS, variant, SEGMENTS)
    assert media_type == field_value(fields, b"content-type")
    assert b'attachment; filename="%b"' % filename == field_value(fields, b"content-disposition")
    assert b"42" == field_value(fields, b"content-length")
    assert b"nosniff" == field_value(fields, b"x-content-type-options")


@pytest.mark.parametrize(
    ("format_", "media_type", "extension"),
    [
        ("css", b"text/css; charset=utf-8", b"css"),
        ("scss", b"text/plain; charset=utf-8", b"scss"),
        ("json", b"application/json", b"json"),
        ("js", b"text/javascript; charset=utf-8", b"js"),
        ("ts", b"text/plain; charset=utf-8", b"ts"),
        ("dtcg", b"application/design-tokens+json", b"tokens.json"),
    ],
)
def test_each_format_of_design_tokens_has_its_type(format_: str, media_type: bytes, extension: bytes) -> None:
    """Registered types where there are any, and the extension that tools look for."""
    fields = fields_of(TOKENS, Variant(format=format_), ("tokensets", "acme", "light"))
    assert media_type == field_value(fields, b"content-type")
    assert b'attachment; filename="export.%b"' % extension == field_value(fields, b"content-disposition")


@pytest.mark.parametrize(
    ("project", "disposition"),
    [
        ('a"b', b"attachment; filename=\"texts-a_b.json\"; filename*=UTF-8''texts-a%22b.json"),
        ("größe", b"attachment; filename=\"texts-gr__e.json\"; filename*=UTF-8''texts-gr%C3%B6%C3%9Fe.json"),
        ("a;b", b"attachment; filename=\"texts-a_b.json\"; filename*=UTF-8''texts-a%3Bb.json"),
    ],
)
def test_a_file_name_is_one_whatever_is_in_the_path(project: str, disposition: bytes) -> None:
    """Quotes and other scripts are told in the extended form; the plain one is safe everywhere (RFC 6266)."""
    fields = fields_of(TEXTS, Variant(), ("projects", project, "export"))
    assert disposition == field_value(fields, b"content-disposition")


def test_a_file_is_never_hidden() -> None:
    """A leading dot is left out."""
    rule = variants_of("/projects/x/export", POLICY.replace('"texts-{project}"', '"{project}"'))
    fields = fields_of(rule, Variant(), ("projects", ".bashrc", "export"))
    assert b'attachment; filename="bashrc.json"' == field_value(fields, b"content-disposition")
