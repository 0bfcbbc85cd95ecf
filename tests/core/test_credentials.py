"""The one credential of a request: found, missing, malformed or ambiguous, all without IO."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.http.messages import Field
from gateway.core.http.reasons import Reason
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import CredentialSource, Scheme
from gateway.core.tokens.credentials import build_credential, credential_fields, find_credential
from gateway.core.tokens.text import mint
from tests.core.samples import SHOP, TOKEN_FORMAT, load_shop

POLICY = load_shop()
TOKEN = mint(replace(TOKEN_FORMAT, prefixes=("shp_",)), b"\x17" * 46)
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())
API_KEY = (b"x-api-key", TOKEN.encode())
BROKEN = TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1")

presented = st.tuples(
    st.sampled_from([b"authorization", b"x-api-key", b"x-other"]),
    st.binary() | st.sampled_from([BEARER[1], API_KEY[1], b"Bearer", b"Basic abc"]),
)


@pytest.mark.parametrize("field", [BEARER, (BEARER[0], b"bearer   " + TOKEN.encode()), API_KEY])
def test_a_well_formed_credential_is_found(field: Field) -> None:
    """A token is found in each field that the policy names, the scheme in any case."""
    assert TOKEN == find_credential([(b"accept", b"*/*"), field], POLICY)


@pytest.mark.parametrize(
    "fields", [[], [(b"accept", b"*/*")], [(b"authorization", b"Basic dXNlcjpwYXNz")], [(b"authorization", b"")]]
)
def test_without_a_credential_the_reason_says_so(fields: list[Field]) -> None:
    """No field of the policy, or another scheme in it, is a missing credential, not a wrong one."""
    assert Reason.MISSING_CREDENTIALS is find_credential(fields, POLICY)


@pytest.mark.parametrize(
    "field",
    [
        (b"authorization", b"Bearer"),
        (b"authorization", b"Bearer " + b"x" + TOKEN.encode()),
        (b"authorization", b"Bearer " + BROKEN.encode()),
        (b"authorization", b"Bearer " + TOKEN.encode() + b"0"),
        (b"authorization", b"Bearer " + TOKEN.encode()[:-1]),
        (b"authorization", b"Bearer " + b"a" * 8192),
        (b"authorization", b"Bearer shp_" + b"a" * 8192),
        (b"authorization", b"Bearer shp_\xc3\xa9" + b"a" * 38),
        (b"authorization", b"Bearer " + TOKEN.encode() + b" " + TOKEN.encode()),
        (b"x-api-key", b""),
        (b"x-api-key", b"Bearer " + TOKEN.encode()),
        (b"x-api-key", TOKEN.encode() + b"\0"),
        (b"x-api-key", b"\xff" * 44),
    ],
)
def test_what_could_not_have_been_minted_is_malformed(field: Field) -> None:
    """Without a token, too long, of another prefix, with a wrong checksum or odd bytes: none of it reaches Redis."""
    assert Reason.MALFORMED_CREDENTIALS is find_credential([field], POLICY)


@pytest.mark.parametrize(
    "fields",
    [
        [BEARER, BEARER],
        [BEARER, API_KEY],
        [API_KEY, API_KEY],
        [BEARER, (b"x-api-key", b"")],
        [(b"authorization", b"Basic abc"), BEARER],
    ],
)
def test_two_credentials_are_ambiguous(fields: list[Field]) -> None:
    """A credential given twice, in one field or in two, is refused even where both say the same (RFC 6750 2)."""
    assert Reason.AMBIGUOUS_CREDENTIALS is find_credential(fields, POLICY)


BOTH = replace(
    POLICY, credentials=tuple(CredentialSource(b"authorization", scheme) for scheme in (Scheme.BEARER, Scheme.BASIC))
)


@pytest.mark.parametrize("user", ["", "x", "__token__", "name:"])
def test_a_password_is_a_token_if_the_policy_takes_basic(user: str) -> None:
    """Whoever the user is; beside Bearer in the same field."""
    basic = (b"authorization", b"Basic " + b64encode(f"{user.strip(':')}:{TOKEN}".encode()))
    assert TOKEN == find_credential([basic], BOTH)
    assert TOKEN == find_credential([BEARER], BOTH)
    assert Reason.MISSING_CREDENTIALS is find_credential([basic], POLICY)
    assert Reason.AMBIGUOUS_CREDENTIALS is find_credential([basic, BEARER], BOTH)


@pytest.mark.parametrize("value", [b"", b"Basic", b"Basic !", b"Basic " + b64encode(TOKEN.encode() + b":")])
def test_a_basic_credential_without_a_token_is_malformed(value: bytes) -> None:
    """Also if the token is the user name; a field without a scheme is no credential."""
    reason = Reason.MALFORMED_CREDENTIALS if value else Reason.MISSING_CREDENTIALS
    assert reason is find_credential([(b"authorization", value)], BOTH)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_what_is_built_is_found(scheme: Scheme) -> None:
    """`build_credential` is the inverse, for each scheme."""
    source = CredentialSource(b"authorization", scheme)
    assert TOKEN == find_credential([build_credential(TOKEN, source)], replace(POLICY, credentials=(source,)))


@given(st.lists(presented, max_size=4))
def test_any_fields_give_the_token_or_a_reason(fields: list[Field]) -> None:
    """Any bytes are a token of the right form or one of three documented reasons, never an exception."""
    found = find_credential(fields, POLICY)
    assert found in {
        TOKEN,
        Reason.MISSING_CREDENTIALS,
        Reason.MALFORMED_CREDENTIALS,
        Reason.AMBIGUOUS_CREDENTIALS,
    }


def test_every_credential_field_is_kept_from_the_backend() -> None:
    """The usual ones, whatever a policy takes, and those that any policy takes."""
    usual = frozenset({b"authorization", b"x-api-key"})
    assert usual == credential_fields(())
    assert usual == credential_fields(POLICY.credentials)
    assert usual | {b"x-shop-key"} == credential_fields([CredentialSource(b"x-shop-key", Scheme.BARE)])


def test_a_token_in_a_field_of_another_policy_is_kept_from_the_backend_too() -> None:
    """Each policy knows the fields of all of them: a client may send its token in the one that does not count."""
    other = SHOP.replace('name = "shop"', 'name = "other"').replace("/items", "/others")
    other = other.replace('["bearer", "header:X-API-Key"]', '"header:X-Other-Key"')
    policies = load_policies({"shop.toml": SHOP, "other.toml": other}).policies
    fields = {b"authorization", b"x-api-key", b"x-other-key"}
    assert [fields, fields] == [policy.credential_fields for policy in policies.values()]
