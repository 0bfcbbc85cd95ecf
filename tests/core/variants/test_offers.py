"""What a shaped rule says of itself, and the heads of its answers."""

import msgspec
import pytest

from gateway.core.messages import field_value
from gateway.core.variants.offers import build_offer, build_source, build_variant_fields
from gateway.core.variants.variant import Variant
from tests.core.variants.samples import POLICY, variants_of

SEGMENTS = ("projects", "website", "export")
TEXTS = variants_of("/projects/website/export")
TOKENS = variants_of("/tokensets/acme/light")


def test_the_options_are_told_as_data() -> None:
    """A page builds its form from this and a client its help: name, place, values, default, and what each does."""
    offer = msgspec.to_builtins(build_offer(TEXTS, "/projects/{project}/export"), str_keys=True)
    assert {
        "name": "format",
        "in": "query",
        "values": ("json", "csv", "xml"),
        "default": ("json",),
        "several": False,
        "all": None,
        "description": "How the export is written.",
    } == offer["options"][0]
    assert {
        "name": "lang",
        "in": "query",
        "values": None,
        "default": None,
        "several": True,
        "all": "*",
        "description": "The languages that are exported.",
    } == offer["options"][4]
    assert ("translations", "/projects/{project}/export") == (offer["document"], offer["path"])
    assert ["json", "csv", "xml"] == list(offer["media_types"])


def test_an_option_in_the_path_says_so() -> None:
    """What stands in the path is not put into the query; the policy's own words go before ours."""
    policy = POLICY.replace('"{mode}" }', '"{mode}", description = "Light or dark" }')
    offered = build_offer(variants_of("/tokensets/acme/light", policy), "/").options[-1]
    assert ("mode", "path", "Light or dark") == (offered.name, offered.place, offered.description)


def test_a_rule_without_formats_offers_the_first() -> None:
    """What is not declared cannot be chosen."""
    policy = POLICY.replace("format = {}\n", "")
    offer = build_offer(variants_of("/projects/website/export", policy), "/")
    assert {"json": "application/json"} == offer.media_types
    assert "format" not in {option.name for option in offer.options}


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
    fields = build_variant_fields(TEXTS, variant, SEGMENTS, 42)
    assert media_type == field_value(fields, b"content-type")
    assert b'attachment; filename="%b"' % filename == field_value(fields, b"content-disposition")
    assert (b"42", b"nosniff") == (
        field_value(fields, b"content-length"),
        field_value(fields, b"x-content-type-options"),
    )


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
    fields = build_variant_fields(TOKENS, Variant(format=format_), ("tokensets", "acme", "light"), 0)
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
    fields = build_variant_fields(TEXTS, Variant(), ("projects", project, "export"), 0)
    assert disposition == field_value(fields, b"content-disposition")


def test_a_file_is_never_hidden() -> None:
    """A leading dot is left out."""
    rule = variants_of("/projects/x/export", POLICY.replace('"texts-{project}"', '"{project}"'))
    fields = build_variant_fields(rule, Variant(), ("projects", ".bashrc", "export"), 0)
    assert b'attachment; filename="bashrc.json"' == field_value(fields, b"content-disposition")
