"""Changes of tokens, under a policy."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused, decide
from gateway.core.errors import ChangeRefused, NotGrantable
from gateway.core.tokens.changes import (
    LATEST_END,
    TokenChange,
    TokenRequest,
    TokenState,
    mint_token,
    state_of,
    update_record,
)
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import (
    MAXIMUM_BINDING_LENGTH,
    MAXIMUM_NAME_LENGTH,
    digest,
    is_well_formed,
    random_bytes_needed,
    token_id,
)
from tests.core.samples import NOW, NOW_MILLISECONDS, RECORD, find_rule, load_shop

POLICY = load_shop()
RANDOM = b"\x2a" * random_bytes_needed(POLICY.token_format)
REQUEST = TokenRequest(name="nightly build", project="website")


def mint(**changes: Any) -> tuple[str, TokenRecord]:
    return mint_token(POLICY, replace(REQUEST, **changes), RANDOM, b"pepper", NOW)


def refusal(**changes: Any) -> str:
    with pytest.raises(ChangeRefused) as refused:
        mint(**changes)
    return str(refused.value)


def test_a_minted_token_is_well_formed_and_its_record_has_no_text_of_it() -> None:
    """The record of a new token has its digest and the part that may be shown, never the token."""
    text, record = mint()
    assert is_well_formed(text, POLICY.token_format)
    assert digest(text, b"pepper") == record.digest
    assert text[:12] == record.shown
    assert text not in repr(record)


def test_a_new_token_begins_its_own_lineage() -> None:
    """A token that is no successor counts its quotas under its own id."""
    _, record = mint()
    assert token_id(record.digest) == record.lineage


def test_a_new_token_has_all_scopes_and_the_first_plan() -> None:
    """Where nothing is asked for, the token has every scope of the policy and the policy's first plan."""
    _, record = mint()
    assert "admin read write" == record.scopes
    assert "free" == record.plan
    assert record.is_active
    assert None is record.expires_at
    assert NOW == record.created_at


def test_scopes_are_kept_as_they_were_given() -> None:
    """In the order in which they were asked for, each once: clients get back what they sent."""
    assert "write read" == mint(scopes=("write", "read", "write"))[1].scopes


def test_the_scope_to_sign_in_with_is_given_by_name_only() -> None:
    """A token that is made without scopes has all others, so one that leaks does not open the developer page."""
    policy = replace(POLICY, sign_in_scope="admin")
    request = TokenRequest(name="CI", project="website")
    assert "read write" == mint_token(policy, request, RANDOM, b"", NOW)[1].scopes
    assert "admin" == mint_token(policy, replace(request, scopes=("admin",)), RANDOM, b"", NOW)[1].scopes
    implied = replace(POLICY, sign_in_scope="write")  # by admin
    assert "read" == mint_token(implied, request, RANDOM, b"", NOW)[1].scopes


BY_TOKEN, BY_OPERATOR = "a" * 24, ""


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        (((False, BY_TOKEN), (True, BY_TOKEN)), (True, "")),
        (((False, BY_TOKEN), (True, BY_OPERATOR)), (True, "")),
        (((False, BY_OPERATOR), (True, BY_OPERATOR)), (True, "")),
        (((False, BY_OPERATOR), (False, BY_TOKEN)), (False, "")),
        (((False, BY_TOKEN), (False, BY_OPERATOR)), (False, "")),
        (((False, BY_TOKEN),), (False, BY_TOKEN)),
        (((False, BY_OPERATOR), (True, BY_TOKEN)), None),
        (((False, BY_OPERATOR), (False, BY_TOKEN), (True, BY_TOKEN)), None),
        (((False, BY_TOKEN), (False, BY_OPERATOR), (True, BY_TOKEN)), None),
    ],
)
def test_what_an_operator_disabled_no_token_enables(
    switches: tuple[tuple[bool, str], ...], expected: tuple[bool, str] | None
) -> None:
    """Neither at once nor by disabling it once more; what a token disabled, tokens and operators enable."""
    record = mint()[1]
    try:
        for is_active, asker in switches:
            record = update_record(POLICY, record, TokenChange(is_active=is_active), NOW, asker=asker)
    except NotGrantable as refused:
        assert None is expected
        assert "only an operator can enable it" in str(refused)
        return
    assert expected == (record.is_active, record.disabled_by)


UNBOUND = (
    "the policy shop binds each token to its project: name one, or write "
    '`bound_to = "none"` under [token] where the product has none'
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"project": ""}, UNBOUND),
        ({"project": "", "owner": "acme"}, UNBOUND),
        ({"name": ""}, "a token needs a name"),
        ({"name": "a\nb"}, "a token's name has no control characters"),
        ({"name": "x" * 256}, "a token's name has at most 255 characters, this has 256"),
        ({"project": "x" * 129}, "a project's or owner's id has at most 128 characters, this has 129"),
        ({"owner": "a\0"}, "a project's or owner's id has no control characters"),
        ({"plan": "pr"}, "unknown plan 'pr': did you mean 'pro'?"),
        ({"plan": ""}, "unknown plan '': known are all, free, pro"),
        ({"scopes": ("read", "wirte")}, "unknown scope 'wirte': did you mean 'write'?"),
        ({"expires_at": NOW}, "the token would have ended already"),
        ({"expires_at": LATEST_END + 1}, "a token ends before the year 10000, or never"),
        ({"not_before": LATEST_END + 1}, "a token begins before the year 10000"),
        ({"not_before": NOW + 9, "expires_at": NOW + 9}, "the token would end before it begins"),
    ],
)
def test_what_the_policy_does_not_know_is_refused(changes: dict[str, Any], message: str) -> None:
    """A token that could not work, or could harm logs and fields, is not made, and the message says why."""
    assert message == refusal(**changes)


def test_the_longest_allowed_texts_are_allowed() -> None:
    """The limits themselves are within the limits."""
    _, record = mint(name="x" * MAXIMUM_NAME_LENGTH, project="é" * MAXIMUM_BINDING_LENGTH, expires_at=NOW + 1)
    assert MAXIMUM_NAME_LENGTH == len(record.name)
    assert MAXIMUM_BINDING_LENGTH == len(record.project)


@given(st.text(), st.text(), st.lists(st.text(), max_size=2), st.none() | st.text(), st.none() | st.integers())
def test_any_request_is_granted_or_refused(
    name: str, project: str, scopes: list[str], plan: str | None, expires_at: int | None
) -> None:
    """Any request gives a record that the policy knows, or a ChangeRefused, nothing else."""
    try:
        _, record = mint(name=name, project=project, scopes=tuple(scopes), plan=plan, expires_at=expires_at)
    except ChangeRefused:
        return
    assert record.plan in POLICY.plans
    assert record.scopes == "" or set(record.scopes.split()) <= set(POLICY.scopes)


def test_what_is_not_changed_stays() -> None:
    """A change without values changes nothing."""
    assert RECORD == update_record(POLICY, RECORD, TokenChange(), NOW)


def test_what_is_changed_is_changed_and_the_rest_stays() -> None:
    """Each value of a change replaces the record's, in the record's form."""
    change = TokenChange(name="other", scopes=("write", "read"), plan="free", expires_at=NOW + 60, is_active=False)
    expected = replace(RECORD, name="other", scopes="write read", plan="free", expires_at=NOW + 60, is_active=False)
    assert expected == update_record(POLICY, RECORD, change, NOW)


def test_an_end_can_be_taken_away() -> None:
    """None as an end is a change to no end, not the absence of a change."""
    record = replace(RECORD, expires_at=NOW + 60)
    assert RECORD == update_record(POLICY, record, TokenChange(expires_at=None), NOW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (TokenChange(name=""), "a token needs a name"),
        (TokenChange(plan="gone"), "unknown plan 'gone': known are all, free, pro"),
        (TokenChange(scopes=("raed",)), "unknown scope 'raed': did you mean 'read'?"),
        (TokenChange(expires_at=NOW - 1), "the token would have ended already"),
    ],
)
def test_a_change_to_what_the_policy_does_not_know_is_refused(change: TokenChange, message: str) -> None:
    """A change is held to the same rules as a new token."""
    with pytest.raises(ChangeRefused) as refused:
        update_record(POLICY, RECORD, change, NOW)
    assert message == str(refused.value)


def test_bounds_of_time_are_held_against_each_other() -> None:
    """A change of one bound is checked against the other one that stays; a change of neither is not."""
    record = replace(RECORD, not_before=NOW + 10, expires_at=NOW + 20)
    for change in (TokenChange(not_before=NOW + 20), TokenChange(expires_at=NOW + 10)):
        with pytest.raises(ChangeRefused, match="end before it begins"):
            update_record(POLICY, record, change, NOW)
    assert NOW + 19 == update_record(POLICY, record, TokenChange(not_before=NOW + 19), NOW).not_before
    assert None is update_record(POLICY, record, TokenChange(not_before=None), NOW).not_before
    odd = replace(record, not_before=NOW + 30)
    assert "other" == update_record(POLICY, odd, TokenChange(name="other"), NOW).name


def test_a_token_that_has_ended_can_be_renamed() -> None:
    """A change that leaves the end alone does not ask whether it has passed."""
    record = replace(RECORD, expires_at=NOW - 1)
    assert "other" == update_record(POLICY, record, TokenChange(name="other"), NOW).name


@pytest.mark.parametrize(
    ("changes", "is_revoked", "state"),
    [
        ({}, False, TokenState.ACTIVE),
        ({"expires_at": NOW + 1}, False, TokenState.ACTIVE),
        ({"expires_at": NOW}, False, TokenState.EXPIRED),
        ({"is_active": False, "expires_at": NOW}, False, TokenState.DISABLED),
        ({"is_active": False, "expires_at": NOW}, True, TokenState.REVOKED),
    ],
)
def test_the_state_of_a_token_is_the_first_that_applies(
    changes: dict[str, Any], is_revoked: bool, state: TokenState
) -> None:
    """Revoked goes before disabled, disabled before expired."""
    assert state is state_of(replace(RECORD, **changes), is_revoked, NOW)


@given(st.booleans(), st.none() | st.integers(NOW - 2, NOW + 2), st.booleans())
def test_lists_and_decisions_agree(is_active: bool, expires_at: int | None, is_revoked: bool) -> None:
    """A token that lists call active is let in, and one that they call anything else is refused for that reason."""
    record = replace(RECORD, is_active=is_active, expires_at=expires_at)
    request = AdmissionRequest(find_rule("GET", "items", "1"))
    facts = AdmissionFacts(request, NOW_MILLISECONDS, record, is_revoked, True, windows=(), stored_heads=())
    verdict = decide(facts)
    state = state_of(record, is_revoked, NOW)
    assert (state is TokenState.ACTIVE) == isinstance(verdict, Authorized)
    if isinstance(verdict, Refused):
        assert f"{state}_token" == verdict.reason
