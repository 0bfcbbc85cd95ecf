"""The forms of tokens, read from what a browser sent."""

from collections.abc import Callable, Mapping

import msgspec
from litestar.datastructures import FormMultiDict

from gateway.core.pages.formatting import describe_day, last_day, parse_day
from gateway.core.pages.sessions import IDLE_SECONDS
from gateway.core.policies.model import Policy
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.pages.common import text_of

DAY_SECONDS = 86400
EXPIRIES = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "1 year", "day": "On a day", "never": "Never"}
"""The offered expiries; the numbers are days."""
DEFAULT_EXPIRY = "90"
OVERLAPS = {
    "0": "None: the old token ends now",
    "3600": "1 hour",
    "86400": "1 day",
    "604800": "7 days",
    "2592000": "30 days",
}
"""How long the old token still works beside its successor, in seconds."""
DEFAULT_OVERLAP = "86400"


class TokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form as it was filled in; mistakes in it are found where it is used."""

    name: str = ""
    description: str = ""
    expiry: str = DEFAULT_EXPIRY
    day: str = ""
    scopes: tuple[str, ...] = ()
    project: str = ""
    owner: str = ""
    plan: str = ""
    key: str = ""
    """It is equal whenever the same form is sent again."""


class FormMistake(Exception):
    """A mistake in a form: the field, and why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def mask_form(form: TokenForm, mask: Callable[[str], str]) -> TokenForm:
    """Return the form for showing it again, with tokens masked."""
    return msgspec.structs.replace(form, name=mask(form.name), description=mask(form.description))


def read_token_form(form: FormMultiDict) -> TokenForm:
    """Read the fields of a form."""
    texts = {name: text_of(form, name) for name in ("name", "expiry", "day", "project", "owner", "plan", "key")}
    description = text_of(form, "description").replace("\r\n", "\n")
    scopes = tuple(dict.fromkeys(scope for scope in form.getall("scope", []) if isinstance(scope, str)))
    return TokenForm(**texts, description=description, scopes=scopes)


def offer_expiries(now: int, latest: int | None) -> dict[str, str]:
    """Return the expiries for a giver whose limit is `latest` (Unix seconds), which is offered last itself."""
    if latest is None:
        return dict(EXPIRIES)
    longest = (latest - now - IDLE_SECONDS) // DAY_SECONDS  # days count from when the form is sent
    offered = {value: words for value, words in EXPIRIES.items() if value.isdecimal() and int(value) <= longest}
    if (parse_day(last_day(latest)) or 0) > now:
        offered["day"] = EXPIRIES["day"]
    return {**offered, "latest": f"When yours ends, {describe_day(latest)}"}


def choose_offered(form: TokenForm, expiries: Mapping[str, str]) -> TokenForm:
    """Return the form with one of the offered expiries chosen: the most likely one if another was."""
    if form.expiry in expiries:
        return form
    chosen = next(value for value in ("keep", DEFAULT_EXPIRY, "latest") if value in expiries)
    return msgspec.structs.replace(form, expiry=chosen)


def build_request(form: TokenForm, policy: Policy, now: int, latest: int | None) -> TokenRequest:
    """Build the request of a new token that expires by `latest`. Raise FormMistake for what cannot be read."""
    check_name(form)
    if policy.scopes and not form.scopes:
        raise FormMistake("scopes", "Pick at least one scope: a token without any is good for nothing.")
    if policy.bound_to != "none" and not policy.binding(form.project, form.owner):
        raise FormMistake(policy.bound_to, f"Say which {policy.bound_to} the token is for.")
    return TokenRequest(
        name=form.name,
        description=form.description,
        project=form.project,
        owner=form.owner,
        scopes=form.scopes,
        plan=form.plan or None,
        expires_at=read_expiry(form, now, latest),
    )


def build_change(form: TokenForm, policy: Policy, now: int, latest: int | None) -> TokenChange:
    """Build the change of a token that expires by `latest`; `keep` leaves its expiry. Raise FormMistake."""
    check_name(form)
    if policy.scopes and not form.scopes:
        raise FormMistake("scopes", "Pick at least one scope, or disable the token.")
    return TokenChange(
        name=form.name,
        description=form.description,
        scopes=form.scopes,
        expires_at=msgspec.UNSET if form.expiry == "keep" else read_expiry(form, now, latest),
    )


def check_name(form: TokenForm) -> None:
    """Raise FormMistake if the name is missing."""
    if not form.name:
        raise FormMistake("name", "Give the token a name: it is how you will tell it from others.")


def read_expiry(form: TokenForm, now: int, latest: int | None) -> int | None:
    """Return the expiry in Unix seconds, or None for never. Raise FormMistake for anything else.

    It may be later than what can be granted.
    """
    if form.expiry == "never":
        return None
    if form.expiry == "latest" and latest is not None:
        return latest
    if form.expiry == "day":
        ends = parse_day(form.day)
        if ends is None or ends <= now:
            raise FormMistake("day", "Pick a day from today on. The token works until that day ends, in UTC.")
        return ends
    if form.expiry not in EXPIRIES:
        raise FormMistake("expiry", "Pick one of the times.")
    return now + int(form.expiry) * DAY_SECONDS
