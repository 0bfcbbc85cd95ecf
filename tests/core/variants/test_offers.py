"""What a shaped rule offers, as data."""

import msgspec

from gateway.core.variants.formats import FORMATS
from gateway.core.variants.options import build_offer
from tests.core.variants.samples import POLICY, variants_of

TEXTS = variants_of("/projects/website/export")


def test_the_options_are_told_as_data() -> None:
    """A page builds its form from this and a client its help: name, place, values, default, and what each does."""
    offer = msgspec.to_builtins(build_offer(TEXTS, "/projects/{project}/export"), str_keys=True)
    assert {
        "name": "format",
        "in": "query",
        "values": tuple(FORMATS["translations"]),
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
    assert "translations" == offer["document"]
    assert "/projects/{project}/export" == offer["path"]
    assert [*FORMATS["translations"]] == list(offer["media_types"])


def test_what_statuses_leave_out_is_told() -> None:
    """Who builds an address sees which entries it does not bring."""
    option = build_offer(TEXTS, "/").options[5]
    assert "The statuses of the entries that are exported." in option.description
    assert (
        "If nothing is asked for, draft, other statuses and entries without a status are left out" in option.description
    )
    policy = POLICY.replace(', default = ["approved", "shipped"]', "")
    option = build_offer(variants_of("/projects/website/export", policy), "/").options[5]
    assert option.description.endswith("* has all entries, also those of other statuses and of none.")
    assert option.default is None


def test_an_option_in_the_path_says_so() -> None:
    """What stands in the path is not put into the query; the policy's own words go before ours."""
    policy = POLICY.replace('"{mode}" }', '"{mode}", description = "Light or dark" }')
    offered = build_offer(variants_of("/tokensets/acme/light", policy), "/").options[-1]
    assert "mode" == offered.name
    assert "path" == offered.place
    assert "Light or dark" == offered.description


def test_a_rule_without_formats_offers_the_first() -> None:
    """What is not declared cannot be chosen."""
    policy = POLICY.replace("format = {}\n", "")
    offer = build_offer(variants_of("/projects/website/export", policy), "/")
    assert {"json": "application/json"} == offer.media_types
    assert "format" not in {option.name for option in offer.options}
