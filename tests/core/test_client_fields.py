"""Which fields of a client reach a backend."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.upstream.client_fields import (
    HOP_BY_HOP,
    IDENTITY_FIELDS,
    MAXIMUM_REMEMBERED,
    MAXIMUM_REMEMBERED_LENGTH,
    MISLEADING,
    SET_BY_GATEWAY,
    ByName,
    fold,
    is_identity,
    is_misleading,
    never_passes,
)

NONE = frozenset[bytes]()
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.!~", min_size=1, max_size=12).map(str.encode)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"x-gateway-owner", True),
        (b"X_GATEWAY_OWNER", True),
        (b"x.gateway.owner", True),
        (b"x!gateway!scopes", True),
        (b"x-gate-way-owner", True),
        (b"_x-gateway-owner", True),
        (b"xgateway", True),
        (b"x-gateway-anything-new", True),
        (b"xx-gateway-owner", False),
        (b"gateway-cache-control", False),
        (b"x-request-id", False),
        (b"", False),
    ],
)
def test_identity_fields_are_known_in_every_spelling(name: bytes, expected: bool) -> None:
    """Whatever a server that folds names would read as an identity field is one, and nothing else."""
    assert expected == is_identity(name)


@given(st.sampled_from([*IDENTITY_FIELDS, *HOP_BY_HOP, *SET_BY_GATEWAY, *MISLEADING]), st.data())
def test_odd_bytes_make_no_difference(name: bytes, data: st.DataObject) -> None:
    """Bytes that are no letter or digit, anywhere in a name and in any case of its letters, open no way around."""
    odd = st.lists(st.sampled_from([b"", b"-", b"_", b".", b"!", b"~", b"'"]), min_size=len(name), max_size=len(name))
    spelled = b"".join(bytes([byte]) + separator for byte, separator in zip(name, data.draw(odd), strict=True))
    assert never_passes(spelled, NONE, NONE)
    assert never_passes(spelled.upper(), NONE, NONE)


@given(names)
def test_a_name_is_folded_once(name: bytes) -> None:
    """Folding what is folded changes nothing, and leaves letters and digits only."""
    assert fold(name) == fold(fold(name))
    assert fold(name).isalnum() or not fold(name)


@pytest.mark.parametrize(
    "name", [b"accept", b"cookie", b"content-length", b"content-type", b"user-agent", b"via", b"x-custom", b"x_custom"]
)
def test_other_fields_pass(name: bytes) -> None:
    """What says nothing in the gateway's place reaches the backend."""
    assert not never_passes(name, NONE, NONE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"x-api-key", True),
        (b"x_api_key", True),
        (b"X.API.Key", True),
        (b"x-api-key-2", False),
    ],
)
def test_what_a_policy_removes_is_removed_in_every_spelling(name: bytes, expected: bool) -> None:
    """The credential, and what is held back for the cache."""
    assert expected == never_passes(name, frozenset({b"xapikey"}), NONE)


@pytest.mark.parametrize("name", [b"x-real-ip", b"x-forwarded-port", b"x-http-method-override"])
def test_a_policy_lets_a_misleading_field_pass(name: bytes) -> None:
    """In the spelling that it names, and in no other."""
    assert [False, True] == [never_passes(one, NONE, frozenset({name})) for one in (name, name.replace(b"-", b"_"))]


@pytest.mark.parametrize("name", [b"x-gateway-owner", b"x-forwarded-for", b"host", b"te", b"content_length"])
def test_nothing_lets_a_field_pass_that_the_gateway_sets(name: bytes) -> None:
    """Not even a policy that names it."""
    assert never_passes(name, NONE, frozenset({name}))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"x-forwarded-prefix", True),
        (b"x-forwarded-client-cert", True),
        (b"x-forwarded", True),
        (b"forwarded-host", True),
        (b"x-forwarded-for", False),
        (b"forwarded", False),
        (b"proxy", True),
        (b"proxy-foo", False),
    ],
)
def test_families_of_misleading_fields(name: bytes, expected: bool) -> None:
    """All of X-Forwarded and Forwarded that the gateway does not say itself."""
    assert expected == is_misleading(name)


def test_what_clients_choose_cannot_fill_the_memory() -> None:
    """Long names, and more names than there is room for, are answered and not kept."""
    lengths = ByName(len)
    for number in range(MAXIMUM_REMEMBERED + 10):
        assert 6 == lengths[b"%06d" % number]
    assert MAXIMUM_REMEMBERED_LENGTH + 1 == ByName(len)[b"x" * (MAXIMUM_REMEMBERED_LENGTH + 1)]
    short = ByName(len)
    assert 1000 == short[b"x" * 1000]
    assert MAXIMUM_REMEMBERED == len(lengths)
    assert 0 == len(short)
