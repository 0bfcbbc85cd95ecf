"""The checker of histories finds each kind of violation, and calls nothing a violation that can be explained."""

from typing import Any

import pytest

from tests.support.history import (
    Call,
    Change,
    Event,
    History,
    Jump,
    Loss,
    Outcome,
    Promise,
    Reading,
    What,
    Work,
    check,
)

PROMISES = {"moving": Promise(2, 10), "fixed": Promise(4, 10, 2), "busy": Promise(2, 0)}
CREATED = Change(begun=0, ended=1, subject="t", what=What.CREATE, outcome=Outcome.DONE)


def call(begun: float, status: int = 200, **more: Any) -> Call:
    return Call(**{"begun": begun, "ended": begun + 0.1, "token": "t", "status": status, "what": "GET /", **more})


def change(begun: float, ended: float, what: What, outcome: Outcome = Outcome.KEPT, subject: str = "t") -> Change:
    return Change(begun=begun, ended=ended, subject=subject, what=what, outcome=outcome)


def reading(begun: float, **more: Any) -> Reading:
    return Reading(**{"begun": begun, "ended": begun + 0.1, "token": "t", "exists": True, **more})


def violations(*events: Event) -> list[str]:
    history = History(PROMISES)
    for event in (CREATED, *events):
        history.add(event)
    return check(history)


VIOLATIONS: dict[str, tuple[str, list[Event]]] = {
    "allowed after a revocation": ("wrongly allowed", [change(2, 3, What.REVOKE), call(3.1)]),
    "allowed after it was disabled": ("wrongly allowed", [change(2, 3, What.DISABLE), call(3.1)]),
    "allowed after its owner was blocked": (
        "of its owner acme",
        [change(2, 3, What.DISABLE, subject="acme"), call(3.1, owner="acme")],
    ),
    "allowed, and never created": ("never created", [call(2, token="other")]),
    "allowed after a revocation that a failure spares": (
        "wrongly allowed",
        [change(2, 3, What.REVOKE), Loss(4, 2.5, spares_kept=True), call(5)],
    ),
    "allowed after a revocation before a failure": (
        "wrongly allowed",
        [change(2, 3, What.REVOKE, Outcome.DONE), Loss(4, 3.5, spares_kept=False), call(5)],
    ),
    "disabled after it was enabled before": (
        "wrongly allowed",
        [change(2, 3, What.ENABLE), change(4, 5, What.DISABLE), call(6)],
    ),
    "refused although valid": ("wrong 401", [call(2, 401)]),
    "refused although enabled again": (
        "wrong 401",
        [change(2, 3, What.DISABLE), change(4, 5, What.ENABLE), call(6, 401)],
    ),
    "a creation is gone": ("does not exist", [reading(2, exists=False)]),
    "a revocation is gone": ("not revoked, and was", [change(2, 3, What.REVOKE), reading(4)]),
    "a disabling is gone": ("is active, and was disabled", [change(2, 3, What.DISABLE), reading(4)]),
    "revoked by nobody": ("out of nothing", [reading(2, is_revoked=True)]),
    "more than the limit": ("limit exceeded", [call(at, counters=("moving:t",)) for at in (2, 5, 8)]),
    "more than the limit before a failure": (
        "limit exceeded",
        [*(call(at, counters=("moving:t",)) for at in (2, 3, 4)), Loss(5, 5, spares_kept=False)],
    ),
    "more than the limit in the first window": (
        "in its first window",
        [call(at, counters=("fixed:t",)) for at in (2, 5, 8)],
    ),
    "more at once than allowed": ("3 in flight", [Work(begun=at, ended=9, counter="busy:t") for at in (2, 3, 4)]),
    "late": ("late", [call(2, ended=2.4, longest=0.3)]),
}

EXPLAINED: dict[str, list[Event]] = {
    "asked before the revocation was acknowledged": [change(2, 3, What.REVOKE), call(2.9)],
    "the revocation has failed": [change(2, 3, What.REVOKE, Outcome.FAILED), call(4)],
    "nobody knows if it was revoked": [change(2, 3, What.REVOKE, Outcome.UNKNOWN), call(4), call(5, 401)],
    "the revocation may be undone": [
        change(2, 3, What.REVOKE, Outcome.DONE),
        Loss(4, 2.5, spares_kept=False),
        call(5),
        reading(6),
    ],
    "the creation may be undone": [Loss(2, 0.5, spares_kept=False), call(3, 401), reading(4, exists=False)],
    "enabled again": [change(2, 3, What.DISABLE), change(4, 5, What.ENABLE), call(6)],
    "being enabled": [change(2, 3, What.DISABLE), change(4, 9, What.ENABLE), call(6), call(7, 401)],
    "its owner was unblocked": [
        change(2, 3, What.DISABLE, subject="acme"),
        change(4, 5, What.ENABLE, subject="acme"),
        call(6, owner="acme"),
    ],
    "within the limit": [call(at, counters=("moving:t",)) for at in (2, 5, 12.2)],
    "around the end of the first window": [call(at, counters=("fixed:t",)) for at in (2, 11, 12.2, 13)],
    "some may have come later": [
        *(call(at, counters=("moving:t",)) for at in (2, 5)),
        call(8, ended=14, counters=("moving:t",)),
    ],
    "a failure between": [*(call(at, counters=("moving:t",)) for at in (2, 3, 5, 6)), Loss(4, 4, spares_kept=True)],
    "the clock was set forward": [*(call(at, counters=("moving:t",)) for at in (2, 3, 5, 6)), Jump(4)],
    "one after the other": [Work(begun=at, ended=at + 1, counter="busy:t") for at in (2, 3, 4)],
    "refused for other reasons": [call(2, 503), call(3, 429), call(4, 0), call(5, 403)],
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_found(name: str) -> None:
    """What no order of events explains is reported, once, with the reason."""
    expected, events = VIOLATIONS[name]
    (found,) = violations(*events)
    assert expected in found


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_can_be_explained_is_no_violation(name: str) -> None:
    """A client without an answer, a change that overlaps, a failure that undoes: nobody is accused wrongly."""
    assert [] == violations(*EXPLAINED[name])
