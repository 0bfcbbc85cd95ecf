"""Rules that no request can reach are mistakes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ConfigurationError
from gateway.core.own_addresses import DEFAULT, OwnAddresses
from gateway.core.policies.loading import load_policies
from gateway.core.policies.matching import Matcher, Pattern
from gateway.core.policies.reaching import find_obstacle
from tests.core.policies.test_matching import METHODS, paths, patterns

POLICY = """
name = "{name}"
upstream = "{upstream}"
{hosts}
[token]
prefixes = ["p_"]
"""


def mistakes_of(
    *patterns: str,
    own: OwnAddresses | None = DEFAULT,
    upstream: str = "http://127.0.0.1:9001",
) -> tuple[str, ...]:
    text = POLICY.format(name="p", upstream=upstream, hosts="")
    text += "".join(f'[[rules]]\nmatch = "{pattern}"\n' for pattern in patterns)
    try:
        load_policies({"p.toml": text}, own=own)
    except ConfigurationError as error:
        return error.mistakes
    return ()


@pytest.mark.parametrize(
    ("pattern", "addresses"),
    [
        ("GET /-/health", "/-/health"),
        ("* /-/jwks.json", "/-/jwks.json"),
        ("POST /-/authorize", "/-/authorize"),
        ("GET /-/authorize/{proxy}", "/-/authorize"),
        ("* /-/authorize/**", "/-/authorize"),
    ],
)
def test_what_the_gateway_answers_itself_is_no_rules(pattern: str, addresses: str) -> None:
    """The message says which of its addresses stand in the way, and what moves them."""
    (mistake,) = mistakes_of(pattern, "GET /**")
    expected = f"the gateway itself answers {addresses}; GATEWAY_OWN_PREFIX moves its addresses"
    assert f"p.toml: $.rules[0].match: no request reaches {pattern!r}: {expected}" == mistake


@pytest.mark.parametrize(
    "pattern", ["GET /-/static/**", "* /-/**", "GET /-/{page}", "GET /-/health/deep", "GET /health"]
)
def test_what_stands_beside_its_addresses_is_reached(pattern: str) -> None:
    """A rule need not leave out what the gateway takes of it."""
    assert () == mistakes_of(pattern)


def test_where_the_gateway_stands_in_front_of_nothing_it_takes_nothing() -> None:
    """A policy of an app or of forward-auth has no such addresses, nor one behind another prefix."""
    assert () == mistakes_of("GET /-/health", upstream="none")
    assert () == mistakes_of("GET /-/health", own=OwnAddresses("/_gateway"))
    assert () == mistakes_of("GET /-/health", own=None)


@pytest.mark.parametrize(
    "others",
    [
        ["GET /a", "GET /a/", "GET /a/{x}/**"],
        ["* /a", "GET /a/", "* /a/{x}", "GET /a/{x}/", "GET /a/{x}/{y}/**"],
    ],
)
def test_a_rule_that_others_cover_is_a_mistake(others: list[str]) -> None:
    """All that it matches is matched by more specific ones; with one of them less it is none."""
    expected = "p.toml: $.rules[0].match: no request reaches 'GET /a/**': more specific rules match all that it matches"
    assert (expected,) == mistakes_of("GET /a/**", *others)
    for left_out in others:
        assert () == mistakes_of("GET /a/**", *(other for other in others if other != left_out))


def test_one_host_is_enough_to_be_reached_at() -> None:
    """A rule that is covered on one of its policy's hosts, by another policy, still holds on the others."""
    texts = {
        "a.toml": POLICY.format(name="a", upstream="none", hosts='hosts = ["a.test", "b.test"]'),
        "b.toml": POLICY.format(name="b", upstream="none", hosts='hosts = ["b.test"]'),
    }
    texts["a.toml"] += '[[rules]]\nmatch = "GET /**"\n'
    texts["b.toml"] += '[[rules]]\nmatch = "GET /"\n[[rules]]\nmatch = "GET /{x}/**"\n'
    assert {"a", "b"} == load_policies(texts).policies.keys()
    texts["a.toml"] = texts["a.toml"].replace('"a.test", ', "")
    with pytest.raises(ConfigurationError, match=r"a\.toml: \$\.rules\[0\]\.match: no request reaches 'GET /\*\*'"):
        load_policies(texts)


@given(st.lists(patterns, max_size=6), paths, st.sampled_from([*METHODS, "PUT"]))
def test_no_rule_that_a_request_reaches_is_called_unreachable(
    written: list[Pattern], segments: tuple[str, ...], method: str
) -> None:
    """Whatever rules there are, and whatever is asked for."""
    matcher = Matcher[Pattern]()
    for pattern in written:
        matcher.add(pattern, pattern)
    found = matcher.match(method, segments)
    if found is not None:
        assert None is find_obstacle(found, found, [matcher], None, max(len(one.segments) for one in written))
