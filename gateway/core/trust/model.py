"""What a policy trusts: an issuer of ID tokens, the claims that a job must have, and what its token may do.

Rule 1: a claim is compared with patterns. `*` stands for any text without a slash, `**` for any text; all else stands
for itself. So `acme/*` is each repository of acme, and no text that begins with one.
Rule 2: a template takes whole claims: "{repository} {workflow}". A claim that is absent or empty, or is no text, number
or boolean, fills no template: an empty project would be every project.
Rule 3: jobs choose values of claims, so the time of a comparison grows with the length of the value and no faster.
"""

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeAlias

import msgspec

Claims: TypeAlias = Mapping[str, Any]
"""The claims of an ID token (RFC 7519 4). Which there are is the issuer's to say."""

PARAMETER = re.compile(r"\{([^{}]+)\}")
_WILDCARD = re.compile(r"(\*\*?)")

Pattern: TypeAlias = tuple[str, ...]
"""The literals and wildcards of a pattern, in their order."""


class Trust(msgspec.Struct, frozen=True):
    """One `[[trust]]` of a policy."""

    issuer: str
    audiences: frozenset[str]
    patterns: tuple[tuple[str, tuple[Pattern, ...]], ...]
    """Each claim that counts, with the patterns of which one must match."""
    scopes: tuple[str, ...]
    plan: str | None
    project: str
    """Templates, like the next four; empty for no project."""
    owner: str
    names: tuple[str, ...]
    """The first whose claims there are names the token."""
    lineages: tuple[str, ...]
    """The first whose claims there are names whose counters the token shares."""
    lifetime_seconds: int


LINEAGES = (
    "{repository}",  # GitHub
    "{project_path}",  # GitLab
    "{oidc.circleci.com/project-id}",
    "{organization_slug}/{pipeline_slug}",  # Buildkite
    "{sub}",
)
"""What tells repositories apart, by provider: the default of `lineage`."""
NAMES = (
    "{repository} {workflow} {run_number}.{run_attempt}",
    "{project_path} pipeline {pipeline_id} job {job_id}",
    "{oidc.circleci.com/project-id} job {oidc.circleci.com/job-id}",
    "{organization_slug}/{pipeline_slug} build {build_number} job {job_id}",
    "{sub}",
)
"""How jobs are called, by provider: the default of `name`."""
SHARED_ISSUERS: Mapping[str, tuple[str, ...]] = {
    "https://token.actions.githubusercontent.com": (
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "sub",
    ),
    "https://gitlab.com": ("project_path", "project_id", "namespace_path", "namespace_id", "sub"),
    "https://agent.buildkite.com": ("organization_slug", "organization_id", "pipeline_id", "sub"),
}
"""Issuers that sign for everybody, with the claims that name a customer: one of them must be in a policy.

GitHub's `job_workflow_ref` is none: a public workflow can be called from everybody's repository.
"""
_SUBJECTS = frozenset({"repo", "organization"}).union(*SHARED_ISSUERS.values())
"""How a `sub` begins that names a customer. Others have what everybody can choose: on GitHub a repository's owner can
make it begin with its `ref` or its `environment`."""
_SUBJECT = re.compile(r"([a-z_]+):[^*/:]+[/:]")
_TENANT = re.compile(r"(?:[a-z_]+:)?[^*/:]+(?:[/:].*)?", re.DOTALL)


def compile_pattern(text: str) -> Pattern:
    """Return the pattern of a claim's value."""
    return tuple(_WILDCARD.split(text))


def meets_pattern(pattern: Pattern, value: str) -> bool:
    """Return whether the whole value matches the pattern.

    A regular expression with several wildcards would try all ways to share the value among them.
    """
    reached = {0}  # where what was matched so far can end
    for part in pattern:
        if part == "**":
            reached = set(range(min(reached), len(value) + 1))
        elif part == "*":
            reached = _reach_slash(reached, value)
        else:
            reached = {start + len(part) for start in reached if value.startswith(part, start)}
        if not reached:
            return False
    return len(value) in reached


def _reach_slash(reached: Set[int], value: str) -> set[int]:
    """Return the positions between those that are reached and the next slashes."""
    found: set[int] = set()
    for position in range(min(reached), len(value) + 1):
        if position in reached or (position - 1 in found and value[position - 1] != "/"):
            found.add(position)
    return found


def names_tenant(claim: str, text: str) -> bool:
    """Return whether a pattern names one customer of an issuer that signs for everybody."""
    prefix = text.partition("*")[0]
    if claim == "sub":  # such as repo:acme/website:ref:refs/heads/main, or organization:acme:pipeline:site
        subject = _SUBJECT.match(prefix)
        return subject is not None and subject[1] in _SUBJECTS
    return _TENANT.fullmatch(text) is not None and (prefix == text or "/" in prefix)


def show_value(value: Any) -> str | None:
    """Return a claim's value as patterns and templates see it; None if it is no text, number or boolean."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def fill(templates: Sequence[str], claims: Claims) -> str | None:
    """Return the first template whose claims there are and have a value, filled; None if there is none."""
    for template in templates:
        values = {name: show_value(claims.get(name)) for name in PARAMETER.findall(template)}
        if all(values.values()):
            return "".join(
                [(values[part] or "") if number % 2 else part for number, part in enumerate(PARAMETER.split(template))]
            )
    return None
