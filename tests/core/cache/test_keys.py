"""What is one entry, and in which groups it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.adapters.redis import keys
from gateway.core.cache.keys import (
    entitlement,
    export_key,
    groups_of,
    is_cacheable,
    parse_groups,
    selection_key,
)
from gateway.core.policies.matching import parse_pattern
from gateway.core.policies.model import CacheRule, Rule
from tests.core.cache.answers import FIXED, UNCACHED
from tests.core.samples import RECORD, make_request, make_rule


@pytest.mark.parametrize(
    ("rule", "method", "expected"),
    [
        (FIXED, "GET", True),
        (FIXED, "HEAD", True),
        (FIXED, "POST", False),
        (FIXED, "get", False),
        (UNCACHED, "GET", False),
    ],
)
def test_only_reads_under_a_rule_with_a_cache_are_cacheable(rule: Rule, method: str, expected: bool) -> None:
    """The cache is for GET and HEAD, and for the rules that ask for it; others have no key."""
    request = make_request(method=method)
    assert expected == is_cacheable(rule, request)
    assert expected == (export_key(rule, request) != "")


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/items/2"},
        {"query": "a"},
        {"authority": "shop.example"},
        {"scheme": "http"},
        {"path": "/items", "query": "1"},
    ],
)
def test_another_target_is_another_export(change: dict[str, str]) -> None:
    """Exports differ by path, query, and the scheme and authority that the backend is told."""
    assert export_key(FIXED, make_request()) != export_key(FIXED, replace(make_request(), **change))


def test_another_rule_is_another_export() -> None:
    """The same target under another rule or policy is kept apart."""
    other = replace(FIXED, pattern=replace(FIXED.pattern, text="GET /**"))
    renamed = replace(FIXED, policy=replace(FIXED.policy, name="other"))
    assert 3 == len({export_key(rule, make_request()) for rule in (FIXED, other, renamed)})


def test_a_key_stays_as_it_is() -> None:
    """What an older version stored is found under it. If the key has to change, tell operators what it costs them:
    write a line into CHANGELOG.md, and put the new digest here.
    """
    assert "2855baacc24035fce525c75822df84b1be4efe16683b5ece7b3e1d717c18be79" == export_key(FIXED, make_request()), (
        "The cache key has changed: every stored export is fetched again, and until then there is no stale answer if "
        "the backend fails. See docs/operations/upgrading.md."
    )


def test_get_and_head_share_an_export() -> None:
    """A HEAD is answered from what a GET stored."""
    assert export_key(FIXED, make_request()) == export_key(FIXED, make_request(method="HEAD"))


@pytest.mark.parametrize(
    ("shared_by", "expected"),
    [("project", "website"), ("owner", "acme"), ("token", "ab" * 12), ("public", "everybody")],
)
def test_a_rule_says_who_shares(shared_by: str, expected: str) -> None:
    """The entitlement is the token's project, its owner, the token alone, or everybody."""
    assert expected == entitlement(CacheRule(60, shared_by), RECORD)  # type: ignore[arg-type]


def test_who_has_no_entitlement_shares_with_nobody() -> None:
    """A token without project, and a request without token, reach no entry of a project."""
    cache = CacheRule(60, "project")
    assert "" == entitlement(cache, replace(RECORD, project=""))
    assert "" == entitlement(cache, None)


_texts = st.text(st.sampled_from("ab:1/?=é"), max_size=6)
_parts = st.tuples(_texts, _texts, _texts, _texts)


@given(_parts, _parts)
def test_no_part_of_a_key_can_be_taken_for_another(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    """Two entries have one name in Redis only where entitlement, authority, path and query are the same."""

    def name(parts: tuple[str, ...]) -> str:
        who, host, path, query = parts
        request = replace(make_request(), authority=host, path="/" + path, query=query)
        return keys.export("project", who, export_key(FIXED, request))

    def meaning(parts: tuple[str, ...]) -> tuple[str, ...]:
        who, host, path, query = parts
        return (who, host, f"/{path}?{query}" if query else f"/{path}")

    assert (meaning(one) == meaning(two)) == (name(one) == name(two))


_selections = st.lists(st.tuples(st.binary(max_size=3), st.none() | st.binary(max_size=3)), max_size=3).map(tuple)


@given(_selections, _selections)
def test_no_variant_can_be_taken_for_another(one: tuple[object, ...], two: tuple[object, ...]) -> None:
    """A header of a client names no variant but its own; an absent field is not an empty one."""
    assert (one == two) == (selection_key(one) == selection_key(two))  # type: ignore[arg-type]


def test_an_entry_is_in_the_groups_of_policy_entitlement_and_uri() -> None:
    """And in those that the rule names by its path, and that the backend names (RFC 9875)."""
    rule = replace(
        make_rule(CacheRule(60, "project", groups=("items", "item-{item}"))), pattern=parse_pattern("GET /items/{item}")
    )
    fields = [(b"cache-groups", b'"scripts", "item-a b"'), (b"cache-groups", b'"items"')]
    expected = (
        "all",
        "project:website",
        "uri:shop.example/items/a%20b?x=1",
        "group:items",
        "group:item-a b",
        "group:scripts",
    )
    assert expected == groups_of(rule, make_request(path="/items/a%20b", query="x=1"), "website", fields)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([b'"a", "b"'], ["a", "b"]),
        ([b'"a";x=1', b'"b"'], ["a", "b"]),
        ([b'""'], []),
        ([b"a"], []),
        ([b'"a", b'], []),
        ([b'"a'], []),
        ([b'"' + b"x" * 257 + b'"'], []),
        ([b", ".join(b'"%d"' % number for number in range(100))], [str(number) for number in range(64)]),
    ],
)
def test_groups_are_a_list_of_strings(values: list[bytes], expected: list[str]) -> None:
    """RFC 9875 2: what is not one is ignored as a whole; there is a bound on number and length."""
    assert expected == parse_groups(values)
