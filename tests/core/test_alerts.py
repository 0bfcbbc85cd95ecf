"""What an alert says, how it is named, and how it is signed."""

import hashlib
import json

import msgspec
import pytest
from msgspec.structs import replace

from gateway.core.alerts import (
    MOST_TOKENS,
    NOTICE_SECONDS,
    is_expiring,
    parse_secret,
    sign,
    tell_expiring,
    tell_leak,
    tell_leaked_use,
    tell_reload,
    tell_revocations,
)
from gateway.core.leaks.reports import MAXIMUM_REPORTS, LeakReport, build_feedback, parse_reports
from gateway.core.tokens.audit import Action, Actor, AuditEntry
from tests.core.samples import NOW, RECORD

MASK = str
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_signature_is_that_of_the_standard() -> None:
    """The example of the Standard Webhooks libraries."""
    signed = sign(parse_secret(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == signed


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!", "whsec_YWJj", "hunter2-hunter2-hunter2-hunter2", "é" * 40])
def test_a_secret_that_is_none_is_refused_without_being_told(text: str) -> None:
    """The message says how to make one."""
    with pytest.raises(ValueError, match="openssl rand") as raised:
        parse_secret(text)
    assert not text.removeprefix("whsec_") or text not in str(raised.value)


def test_an_alert_is_named_after_what_happened() -> None:
    """So whoever gets it twice can tell, and two events never have one name."""
    leak = tell_leak(RECORD, "https://github.example/1", "content", [RECORD.identity], NOW, MASK)
    assert leak.id == tell_leak(RECORD, "https://github.example/1", "content", None, NOW + 5, MASK).id
    others = [
        tell_leak(RECORD, "https://github.example/2", "content", None, NOW, MASK),
        tell_leaked_use(RECORD, "192.0.2.1", NOW, MASK),
        tell_leaked_use(RECORD, "192.0.2.2", NOW, MASK),
        tell_leaked_use(RECORD, "192.0.2.1", NOW + 86400, MASK),
        tell_expiring(replace(RECORD, expires_at=NOW), NOW, MASK),
        tell_expiring(replace(RECORD, expires_at=NOW + 1), NOW, MASK),
        tell_reload(["a"], NOW, MASK),
        tell_reload(["b"], NOW, MASK),
    ]
    assert 9 == len({leak.id, *(one.id for one in others)})


def test_a_leak_says_what_was_done() -> None:
    """`revoked` with the tokens, the first hundred of them; or `none`."""
    identities = [f"{number:024x}" for number in range(MOST_TOKENS + 5)]
    data = tell_leak(RECORD, "https://x.example", "commit", identities, NOW, MASK).data
    assert ("revoked", MOST_TOKENS + 5, MOST_TOKENS) == (data.action, data.count, len(data.tokens))
    assert "none" == tell_leak(RECORD, "https://x.example", "commit", None, NOW, MASK).data.action


def test_what_looks_like_a_token_is_masked() -> None:
    """Whoever reports, names or writes it: in no alert is a text of one."""
    masked = tell_leak(RECORD, "u", "s", None, NOW, lambda _: "***").data
    assert {"***"} == {masked.url, masked.source, masked.name, masked.owner, masked.project}
    assert ("***",) == tell_reload(["secret"], NOW, lambda _: "***").data.mistakes


@pytest.mark.parametrize(
    ("lifetime", "left", "expected"),
    [
        (365 * 86400, NOTICE_SECONDS, True),
        (365 * 86400, NOTICE_SECONDS + 1, False),
        (365 * 86400, 1, True),
        (365 * 86400, 0, False),
        (NOTICE_SECONDS, 60, False),
        (600, 60, False),
        (None, 0, False),
    ],
)
def test_a_token_that_was_made_for_longer_is_near_its_end(lifetime: int | None, left: int, expected: bool) -> None:
    """One of ten minutes is always near its end, and raises no alert."""
    ends = None if lifetime is None else NOW + left
    record = replace(RECORD, expires_at=ends, created_at=NOW + left - (lifetime or 0))
    assert expected == is_expiring(record, NOW)


def revocation(identity: str, by: str = "ada", policy: str = "shop") -> AuditEntry:
    return AuditEntry(
        actor=Actor(by, "operator"), action=Action.REVOKE, policy=policy, target=identity, name=f"name of {identity}"
    )


def test_revocations_are_told_together() -> None:
    """One alert for each actor and policy; a single one has the token's name."""
    alerts = tell_revocations([revocation("a"), revocation("b"), revocation("c", by="bob")], NOW, MASK)
    assert [("ada", 2, ("a", "b"), ""), ("bob", 1, ("c",), "name of c")] == [
        (one.data.by, one.data.count, one.data.tokens, one.data.name) for one in alerts
    ]
    assert [] == tell_revocations([], NOW, MASK)


def test_an_alert_is_json_without_what_does_not_apply() -> None:
    """Receivers see only members that say something."""
    data = json.loads(msgspec.json.encode(tell_reload(["$.name: missing"], NOW, MASK).data))
    assert {"mistakes": ["$.name: missing"], "count": 1} == data


def test_a_report_is_an_array_of_findings() -> None:
    """Members that are not known are ignored; a source and a URL may be absent."""
    (report,) = parse_reports(b'[{"token":"t","type":"y","url":"u","source":"commit","new":1}]')
    assert LeakReport("t", "y", "u", "commit") == report
    assert [LeakReport("t")] == parse_reports(b'[{"token":"t"}]')
    assert "LeakReport(type='y', source='commit')" == repr(report)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'[{"type":"x"}]', b'[{"token":5}]', b"\xff", b"[" * 100_000, b'[{"token":"t"}]' * 2],
)
def test_other_content_is_refused(content: bytes) -> None:
    """With a message that repeats none of it."""
    with pytest.raises(ValueError, match="no JSON array"):
        parse_reports(content)


def test_a_call_has_a_bounded_number_of_findings() -> None:
    """Each of them costs questions to Redis."""
    with pytest.raises(ValueError, match="more than 1000"):
        parse_reports(json.dumps([{"token": "t"}] * (MAXIMUM_REPORTS + 1)).encode())


def test_feedback_has_the_hash_and_not_the_text() -> None:
    """GitHub knows the text already, and takes SHA-256 of it."""
    feedback = build_feedback(LeakReport("shp_x", "shop_token"), is_token=True)
    hashed = hashlib.sha256(b"shp_x").hexdigest()
    expected = {"token_hash": hashed, "token_type": "shop_token", "label": "true_positive"}
    assert expected == msgspec.to_builtins(feedback)
    assert "false_positive" == build_feedback(LeakReport("x"), is_token=False).label
