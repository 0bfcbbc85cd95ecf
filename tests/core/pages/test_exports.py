"""The builder of addresses: what it shows is what the gateway would answer."""

from collections.abc import Mapping, Sequence
from itertools import product
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.core.http.targets import parse_path
from gateway.core.pages.export_urls import Build, build
from gateway.core.policies.model import Rule
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import InvalidOptions, Variant
from gateway.core.variants.options import parse_variant
from tests.core.variants.samples import rule_of

TEXTS = "/projects/shop/export"
TOKENS = "/tokensets/brand/dark"


def built(request: str = TEXTS, project: str = "", **asked: Sequence[str]) -> Build:
    rule = rule_of(request)
    assert rule.variants is not None
    return build(rule, rule.variants, {key.replace("_", "."): texts for key, texts in asked.items()}, project)


def variant_of(one: Build, request: str) -> Variant:
    target = urlsplit(one.target)
    rule: Rule = rule_of(request)
    assert rule.variants is not None
    found = parse_variant(rule.variants, target.query, parse_path(target.path) or ())
    assert not isinstance(found, InvalidOptions), found
    return found


def query_of(one: Build) -> Mapping[str, str]:
    return dict(parse_qsl(urlsplit(one.target).query, keep_blank_values=True))


def test_the_address_names_every_option() -> None:
    """Also those that nobody touched, with the policy's default (row K10)."""
    query = query_of(built(p_project=["shop"]))
    assert {
        "format": "json",
        "shape": "nested",
        "pretty": "false",
        "key": "named",
        "lang": "*",
        "status": "approved,shipped",
    } == query


@pytest.mark.parametrize(
    ("format_", "shape", "pretty", "lang", "status"),
    list(product(FORMATS["translations"], ["nested", "flat"], ["false", "true"], ["", "de", "fr, de"], ["", "draft"])),
)
def test_every_choice_is_one_that_the_gateway_understands(
    format_: str, shape: str, pretty: str, lang: str, status: str
) -> None:
    """The request of the address is the variant that was picked."""
    one = built(
        p_project=["shop"],
        o_format=[format_],
        o_shape=[shape],
        o_pretty=["false", pretty],
        o_lang=[lang],
        o_status=["", status],
    )
    if FORMATS["translations"][format_].has_one_language and lang != "de":
        message = f"The format {format_} is in one language: the option lang must say one, such as de."
        assert ((message,), "") == (one.mistakes, one.sample)
        return
    variant = variant_of(one, TEXTS)
    assert () == one.mistakes
    assert format_ == variant.format
    assert (tuple(sorted(lang.split(", "))) if lang else None) == variant.lang
    assert (("draft",) if status else None) == variant.status
    assert one.sample


def test_what_is_not_filled_in_stands_in_braces() -> None:
    """And the address is not called complete."""
    one = built()
    assert "/projects/{project}/export" == urlsplit(one.target).path
    assert not one.is_complete
    assert one.sample


@pytest.mark.parametrize("project", ["a b", "ä", "a%2Fb", "{project}", "..", "a/b"])
def test_a_path_is_encoded_or_said_to_be_refused(project: str) -> None:
    """Never an address that goes elsewhere."""
    one = built(p_project=[project])
    segments = parse_path(urlsplit(one.target).path)
    if one.mistakes:
        assert segments is None
    else:
        assert segments == ("projects", project, "export")


def test_a_mistake_is_told_in_the_gateways_words() -> None:
    """What would be a 400 is said before anybody sends it."""
    one = built(p_project=["shop"], o_lang=["!"])
    assert 1 == len(one.mistakes)
    assert "lang" in one.mistakes[0]
    assert "" == one.sample


def test_a_mode_in_the_path_is_filled_in_like_a_parameter() -> None:
    """And the sample is in that mode."""
    one = built(TOKENS, p_set=["brand"], p_mode=["dark"], o_format=["css"])
    assert "dark" == variant_of(one, TOKENS).mode
    assert "#8ab4ff" in one.sample


def test_every_format_has_a_sample() -> None:
    """Of both kinds of documents."""
    for format_ in FORMATS["design-tokens"]:
        assert built(TOKENS, p_set=["a"], p_mode=["light"], o_format=[format_]).sample
