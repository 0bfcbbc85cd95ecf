"""Whether an ID token is good now, and which trust it meets. The signature was verified before.

Rule: a mistake names the claim and its value for the operator's log. The client learns of it only what its own ID token
says (`told`), never what the policy trusts.
"""

from collections.abc import Iterable, Sequence

import msgspec

from gateway.core.trust.model import Claims, Trust, fill, meets_pattern, show_value

SKEW_SECONDS = 60
"""How far the clocks of issuer and gateway may be apart."""
MAXIMUM_AGE_SECONDS = 86400
"""An ID token that is older is refused, whatever its `exp` says: it bounds for how long it has to be remembered."""
MAXIMUM_SHOWN = 200
"""Characters of a claim's value in a log."""
MAXIMUM_SECONDS = 1 << 40
"""The latest time that is taken for one, in Unix seconds."""


class ClaimMistake(msgspec.Struct, frozen=True):
    """Why an ID token is refused: the claim, its value, and what is wrong with it."""

    claim: str
    value: str
    problem: str
    told: str
    """What the client may know."""


NO_TRUST = "No policy of this gateway trusts this job."


def find_time_mistake(claims: Claims, now: int) -> ClaimMistake | None:
    """Return what is wrong with the times of an ID token (RFC 7519 4.1) at `now`, in Unix seconds; None if nothing."""
    times: dict[str, int] = {}
    for claim in ("exp", "iat", "nbf"):
        value = claims.get(claim)
        if value is None and claim == "nbf":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAXIMUM_SECONDS:
            return _mistake(claim, value, "it is no time in Unix seconds", f"Its {claim} is missing or no time.")
        times[claim] = int(value)
    if now >= times["exp"] + SKEW_SECONDS:
        return _mistake("exp", times["exp"], f"it has expired: now is {now}", "The ID token has expired.")
    for claim in ("iat", "nbf"):
        if times.get(claim, 0) > now + SKEW_SECONDS:
            told = f"The ID token is from the future: its {claim} is later than the gateway's clock."
            return _mistake(claim, times[claim], f"it is in the future: now is {now}", told)
    if now - times["iat"] > MAXIMUM_AGE_SECONDS:
        return _mistake("iat", times["iat"], f"it is too old: now is {now}", "The ID token is older than a day.")
    return None


def remembered_until(claims: Claims) -> int:
    """Return until when an ID token has to be remembered, in Unix seconds, so that it is exchanged only once."""
    return min(int(claims["exp"]), int(claims["iat"]) + MAXIMUM_AGE_SECONDS) + SKEW_SECONDS + 1


def find_mistake(trust: Trust, claims: Claims) -> ClaimMistake | None:
    """Return the first claim that does not meet a trust of the same issuer; None if all do."""
    audiences = claims.get("aud")
    named = audiences if isinstance(audiences, list) else [audiences]
    if trust.audiences.isdisjoint(one for one in named if isinstance(one, str)):
        told = "The ID token is for another audience (aud)."
        return _mistake("aud", audiences, f"expected {', '.join(sorted(trust.audiences))}", told)
    for claim, patterns in trust.patterns:
        values = list(_values(claims.get(claim)))
        if not any(meets_pattern(pattern, value) for value in values for pattern in patterns):
            return _mistake(claim, claims.get(claim), "it matches no value of the trust", NO_TRUST)
    for what, templates in (
        ("project", (trust.project,)),
        ("owner", (trust.owner,)),
        ("lineage", trust.lineages),
        ("name", trust.names),
    ):
        if fill(templates, claims) is None:
            return _mistake(
                what, None, f"the claims of {' or '.join(templates)} are not all there, or are empty", NO_TRUST
            )
    return None


def nearest(mistakes: Sequence[ClaimMistake]) -> str:
    """Return what the client may know if no trust is met: that of the trust that came nearest."""
    return next((one.told for one in mistakes if one.claim != "aud"), mistakes[0].told if mistakes else NO_TRUST)


def _values(value: object) -> Iterable[str]:
    """Yield the values of a claim: those of a list one by one."""
    for one in value if isinstance(value, list) else [value]:
        shown = show_value(one)
        if shown is not None:
            yield shown


def _mistake(claim: str, value: object, problem: str, told: str) -> ClaimMistake:
    return ClaimMistake(claim, "absent" if value is None else repr(value)[:MAXIMUM_SHOWN], problem, told)
