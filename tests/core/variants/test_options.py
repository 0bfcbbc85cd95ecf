"""Requests that mean the same ask for the same variant; what is not offered is refused, and told."""

import itertools
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import InvalidOptions, OptionMistake, Variant
from gateway.core.variants.options import parse_variant
from tests.core.variants.samples import POLICY, variants_of

SEGMENTS = ("projects", "website", "export")
TEXTS = variants_of("/projects/website/export")
TOKENS = variants_of("/tokensets/acme/light")
PLAIN = Variant(status=("approved", "shipped"))
NAMES = ("format", "shape", "pretty", "key", "lang", "status")


def parse(query: str) -> Variant | InvalidOptions:
    return parse_variant(TEXTS, query, SEGMENTS)


def mistakes(query: str) -> list[OptionMistake]:
    found = parse(query)
    assert isinstance(found, InvalidOptions)
    return list(found.mistakes)


def test_nothing_asked_for_is_every_default() -> None:
    """K7: each option is optional and has a default."""
    assert PLAIN == parse("")


@pytest.mark.parametrize(
    ("query", "variant"),
    [
        ("format=csv", Variant(format="csv", status=PLAIN.status)),
        ("shape=flat&pretty=true", Variant(shape="flat", pretty=True, status=PLAIN.status)),
        ("pretty", Variant(pretty=True, status=PLAIN.status)),
        ("key=id", Variant(key="id", status=PLAIN.status)),
        ("lang=de", Variant(lang=("de",), status=PLAIN.status)),
        ("lang=pt-BR,de", Variant(lang=("de", "pt-BR"), status=PLAIN.status)),
        ("status=draft", Variant(status=("draft",))),
        ("status=*", Variant()),
    ],
)
def test_each_option_chooses_one_thing(query: str, variant: Variant) -> None:
    """What an option says is in the variant, and nothing else changes."""
    assert variant == parse(query)


@pytest.mark.parametrize(
    "spellings",
    [
        ("", "format=json", "lang=", "lang=*", "status=shipped,approved", "pretty=0&shape=nested", "&&"),
        ("lang=de,en", "lang=en,de", "lang=de%2Cen", "lang=en,+de", "lang=de,en,de", "lang=d%65,en&format=json"),
        ("format=xml", "format=xml&pretty=false"),
        ("format=csv", "format=csv&pretty=true", "shape=flat&format=csv", "pretty&shape=flat&format=csv"),
        ("pretty=1&lang=de", "lang=de&pretty=true", "lang=de&pretty="),
    ],
)
def test_requests_that_mean_the_same_share_an_entry(spellings: tuple[str, ...]) -> None:
    """Order, spelled defaults, repeated elements, encodings and options without an effect make no other entry."""
    identities = {found.identity for found in map(parse, spellings) if isinstance(found, Variant)}
    assert 1 == len(identities)
    assert all(isinstance(parse(spelling), Variant) for spelling in spellings)


def test_every_two_variants_have_other_identities() -> None:
    """No two variants could be taken for each other in a cache."""
    queries = [
        "&".join(parts)
        for parts in itertools.product(
            ["format=json", "format=xml"], ["", "pretty"], ["", "shape=flat"], ["lang=de", "lang=de,en", "lang="]
        )
    ]
    identities = {found.identity for found in map(parse, queries) if isinstance(found, Variant)}
    assert len(queries) == len(identities)


def test_an_unknown_option_is_refused_with_those_that_there_are() -> None:
    """K7: an unknown name is told with the names that are allowed."""
    expected = OptionMistake("langs", f"There is no option langs: the options are {', '.join(NAMES)}.", NAMES)
    assert [expected] == mistakes("langs=de")


@pytest.mark.parametrize("lang", ["", "&lang=*", "&lang=", "&lang=de,fr"])
def test_a_format_of_one_language_needs_its_name(lang: str) -> None:
    """None is chosen for a request: what a build ships would depend on how many languages there happen to be."""
    message = "The format android is in one language: the option lang must say one, such as de."
    assert [OptionMistake("lang", message, ())] == mistakes(f"format=android{lang}")
    found = parse("format=android&lang=de")
    assert isinstance(found, Variant)
    assert ("android", ("de",)) == (found.format, found.lang)


def test_a_policys_languages_are_listed_for_a_format_of_one() -> None:
    """By the name that the option has there."""
    named = POLICY.replace("lang = {}", 'locale = { sets = "lang", values = ["de", "fr"] }')
    refused = parse_variant(variants_of("/projects/website/export", named), "format=po", SEGMENTS)
    assert isinstance(refused, InvalidOptions)
    assert "The format po is in one language: the option locale must say one of de, fr." == refused.detail


def test_an_unknown_value_is_refused_with_those_that_there_are() -> None:
    """K7: an unknown value is told with the values that are allowed."""
    formats = tuple(FORMATS["translations"])
    expected = OptionMistake("format", f"The option format must be one of {', '.join(formats)}.", formats)
    assert [expected] == mistakes("format=made-up")
    values = ("draft", "approved", "shipped")
    expected = OptionMistake(
        "status",
        "The option status must be one of draft, approved, shipped, several with commas, or * for all.",
        values,
    )
    assert [expected] == mistakes("status=approved,done")


@pytest.mark.parametrize("query", ["lang=de,,en", "lang=,de", "lang=de;en", "lang=%00", "lang=a b", "lang=" + "a" * 99])
def test_a_list_that_is_none_is_refused(query: str) -> None:
    """An empty element or one that no document could have is a mistake, whatever the document."""
    expected = "The option lang must be one that the document has, several with commas, or * for all."
    assert [expected] == [mistake.message for mistake in mistakes(query)]


@pytest.mark.parametrize("query", ["format=csv&format=csv", "lang=de&lang=en", "pretty&pretty"])
def test_an_option_given_twice_is_refused(query: str) -> None:
    """Two readers could take one of the two each: also where both say the same."""
    name = query.partition("=")[0].partition("&")[0]
    assert [f"The option {name} is given twice."] == [mistake.message for mistake in mistakes(query)]


@pytest.mark.parametrize("query", ["format=%zz", "%=1", "lang=%ff", "%c3%28=1"])
def test_a_malformed_query_is_refused(query: str) -> None:
    """What is not percent-encoded UTF-8 is told with the options that there are."""
    assert [(None, NAMES)] == [(mistake.option, mistake.allowed) for mistake in mistakes(query)]


def test_all_mistakes_are_told_at_once() -> None:
    """One answer names everything that is wrong with the request."""
    found = mistakes("format=made-up&langs=de&pretty=maybe&pretty=1")
    assert ["langs", "pretty", "format", "pretty"] == [mistake.option for mistake in found]


@pytest.mark.parametrize("query", ["format={}", "lang={}", "{}=1", "{}", "pretty={}"])
def test_what_was_sent_is_not_repeated(query: str) -> None:
    """T11: a token in the wrong place comes back in no error."""
    secret = "dtk_1234567890abcdef1234567890abcdef12345678"
    found = parse_variant(TEXTS, query.format(secret + "!"), SEGMENTS)
    assert isinstance(found, InvalidOptions)
    assert secret not in repr(found)


def test_an_option_may_be_a_parameter_of_the_path() -> None:
    """T10: the mode stands in the path and the format in the query."""
    assert Variant(format="css", mode="dark") == parse_variant(TOKENS, "format=css", ("tokensets", "acme", "dark"))


def test_a_value_in_the_path_that_cannot_be_is_nothing_there() -> None:
    """A wrong segment is no wrong option: there is no such address."""
    found = parse_variant(TOKENS, "format=css", ("tokensets", "acme", "da\trk"))
    assert isinstance(found, InvalidOptions)
    assert found.in_path


MODES = ("Mode 1", "High contrast", "Dark/AA", "Größe, 100%", "a=b&c")


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_called_what_designers_call_it(mode: str) -> None:
    """Percent-encoded in the query, as one segment of the path, and among the values of a policy."""
    assert Variant(format="css", mode=mode) == parse_variant(TOKENS, "", ("tokensets", "acme", mode))
    in_query = POLICY.replace('mode = { parameter = "{mode}" }', "mode = {}")
    asked = f"mode={quote(mode, safe='')}"
    assert Variant(format="css", mode=mode) == parse_variant(variants_of("/tokensets/a/b", in_query), asked, SEGMENTS)
    named = POLICY.replace('mode = { parameter = "{mode}" }', f"mode = {list(MODES)}")
    rule = variants_of("/tokensets/a/b", named)
    assert Variant(format="css", mode=mode) == parse_variant(rule, asked, SEGMENTS)
    refused = parse_variant(rule, "mode=Light", SEGMENTS)
    assert isinstance(refused, InvalidOptions)
    assert f"The option mode must be one of {', '.join(MODES)}." == refused.detail


def test_an_empty_status_is_as_if_nothing_was_asked() -> None:
    """A variable that a pipeline left empty exports no drafts; `*` has every entry, whatever its status."""
    assert PLAIN == parse("status=")
    assert Variant() == parse("status=*")
    rule = variants_of("/projects/website/export", POLICY.replace(', default = ["approved", "shipped"]', ""))
    found = [parse_variant(rule, query, SEGMENTS) for query in ("", "status=", "status=*")]
    assert [Variant()] * 3 == found


def test_an_empty_option_of_languages_is_the_default_too() -> None:
    """What a policy says for nothing is for an empty text as well."""
    rule = variants_of("/projects/website/export", POLICY.replace("lang = {}", 'lang = { default = "en" }'))
    found = [parse_variant(rule, query, SEGMENTS) for query in ("", "lang=", "lang=*")]
    assert [Variant(lang=("en",), status=PLAIN.status)] * 2 + [PLAIN] == found


def test_a_value_may_be_spelled_in_any_case_where_the_policy_says_so() -> None:
    """Each spelling is the policy's own, so they share an entry."""
    policy = POLICY.replace("lang = {}", 'locale = { sets = "lang", values = ["de", "pt-BR"], ignore_case = true }')
    rule = variants_of("/projects/website/export", policy)
    found = {parse_variant(rule, f"locale={text}", SEGMENTS) for text in ("PT-BR,de", "pt-br,DE")}
    assert {Variant(lang=("de", "pt-BR"), status=PLAIN.status)} == found
    assert isinstance(parse_variant(TEXTS, "format=CSV", SEGMENTS), InvalidOptions)


def test_a_list_may_be_limited_to_one() -> None:
    """`several = false` takes one value or all."""
    rule = variants_of("/projects/website/export", POLICY.replace("lang = {}", "lang = { several = false }"))
    found = [type(parse_variant(rule, f"lang={text}", SEGMENTS)) for text in ("de", "de,de", "*", "de,en")]
    assert [Variant, Variant, Variant, InvalidOptions] == found


def test_all_of_a_list_is_all_that_the_policy_offers() -> None:
    """Where a policy names the languages, no request gets another one."""
    rule = variants_of("/projects/website/export", POLICY.replace("lang = {}", 'lang = ["de", "en"]'))
    found = [parse_variant(rule, query, SEGMENTS) for query in ("", "lang=", "lang=*", "lang=en,de")]
    assert [Variant(lang=("de", "en"), status=PLAIN.status)] * 4 == found


@given(st.text(max_size=60) | st.lists(st.sampled_from([*NAMES, "=", "&", ",", "*", "%", "json", "de"])).map("".join))
def test_any_query_is_a_variant_or_refused(query: str) -> None:
    """No query raises; a refused one says something of each mistake."""
    found = parse(quote(query, safe="%=&,*+"))
    assert isinstance(found, Variant) or all(mistake.message for mistake in found.mistakes)
