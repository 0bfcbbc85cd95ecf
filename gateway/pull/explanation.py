"""What a refusal means and what to do, in a sentence: from the problem details (RFC 9457), the challenge and whoami.

Texts of the server are cut, and lose what a terminal or a CI log would obey.
"""

import re

import msgspec

from .model import Export
from .transport import Head

MAXIMUM_TEXT = 300
_DESCRIPTION = re.compile(r'error_description="((?:[^"\\]|\\.)*)"')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Problem(msgspec.Struct, frozen=True):
    """The members of problem details that are read here. Others are ignored."""

    title: str = ""
    detail: str = ""
    code: str = ""
    required_scopes: list[str] = []
    violated_policies: list[str] = msgspec.field(default=[], name="violated-policies")
    errors: list[dict[str, object]] = []


class Quota(msgspec.Struct, frozen=True):
    """A quota of whoami's answer."""

    name: str
    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int


class Identity(msgspec.Struct, frozen=True):
    """What whoami says of the token; what an older gateway leaves out is empty."""

    id: str = ""
    name: str = ""
    owner: str = ""
    project: str = ""
    plan: str = ""
    scopes: list[str] = []
    quotas: list[Quota] = []

    def describe(self) -> str:
        """Return the name of the token, as a sentence calls it."""
        return f'the token "{clean(self.name)}" ({clean(self.id)})' if self.id else "the token"


NOBODY = Identity()


def clean(text: str) -> str:
    """Return a text of the server as part of a line of a log."""
    return _CONTROL.sub(" ", text).strip()[:MAXIMUM_TEXT]


def read_problem(content: bytes, head: Head) -> Problem:
    """Return what the answer says; of other content than problem details, what the challenge says (RFC 6750 3)."""
    problem = Problem()
    if "json" in head.field("content-type"):
        try:
            problem = msgspec.json.decode(content, type=Problem)
        except msgspec.DecodeError:
            problem = Problem()
    if not problem.detail and (found := _DESCRIPTION.search(head.field("www-authenticate"))):
        problem = msgspec.structs.replace(problem, detail=found[1])
    return problem


def explain(export: Export, head: Head, content: bytes, identity: Identity) -> str:
    """Return what happened, and what to do. `identity` is what whoami says of the token, if it was asked."""
    problem = read_problem(content, head)
    said = clean(problem.detail or problem.title)
    said = f" ({said.rstrip('.')})" if said else ""
    variable = export.token_variable
    whose = "this job" if export.is_exchanged else variable
    match head.status:
        case 401 if export.is_exchanged:
            return f"401: the gateway does not accept the token that it gave this job{said}. Run the job again."
        case 401:
            return (
                f"401: the gateway does not accept the token of {variable}{said}. It may have expired or been revoked: "
                f"create a new one on the developer page, and store it in the secret {variable} of your CI system."
            )
        case 403:
            return _explain_forbidden(problem, said, whose, identity)
        case 404:
            return f"404: there is no such export{said}. Copy the URL from the developer page."
        case 429:
            return _explain_limited(problem, said, head, identity)
        case 400 if problem.errors:
            errors = "; ".join(clean(str(error.get("message", error))) for error in problem.errors[:5])
            return f"400: the URL asks for what is not offered: {errors}. Copy the URL from the developer page."
        case status if 300 <= status < 400:
            place = clean(head.field("location"))
            return (
                f"{status}: the server redirects to {place}. The token is not sent there; use that URL if you trust it."
            )
        case status if status >= 500:
            return f"{status}: the gateway or its backend is in trouble{said}. Run the job again later."
        case status:
            return f"{status}: the server refused the request{said}."


def _explain_forbidden(problem: Problem, said: str, whose: str, identity: Identity) -> str:
    token = identity.describe()
    owner = f" or {clean(identity.owner)}, who owns the token," if identity.owner else ""
    whom = f"Ask whoever manages the project{owner}"
    if problem.required_scopes:
        needed = ", ".join(clean(scope) for scope in problem.required_scopes)
        has = f"has {', '.join(clean(scope) for scope in identity.scopes) or 'no scope'}" if identity.id else ""
        lacks = f"{token} of {whose} needs the scope {needed}{f' and {has}' if has else ''}"
        return f"403: {lacks}. {whom} for a token with that scope."
    project = f" It belongs to the project {clean(identity.project)}." if identity.project else ""
    plan = f" Its plan is {clean(identity.plan)}." if identity.plan else ""
    return f"403: {token} of {whose} may not read this export{said}.{project}{plan} {whom} for access."


def _explain_limited(problem: Problem, said: str, head: Head, identity: Identity) -> str:
    names = problem.violated_policies
    quotas = [
        f'"{clean(quota.name)}" allows {quota.limit} in {quota.window_seconds} s, {quota.remaining} are left'
        for quota in identity.quotas
        if quota.name in names
    ]
    told = f": the quota {'; the quota '.join(quotas)}" if quotas else said
    when = head.field("retry-after")
    later = f"in {when} s" if when.isdigit() else "later"
    return f"429: {identity.describe()} has used up its limit{told}. Run the job again {later}, or pull less often."
