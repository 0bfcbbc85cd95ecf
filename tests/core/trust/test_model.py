"""Patterns and templates of claims."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.trust.model import LINEAGES, NAMES, compile_pattern, fill, meets_pattern, names_tenant


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("acme/website", "acme/website", True),
        ("acme/website", "acme/website2", False),
        ("acme/website", "evil/acme/website", False),
        ("acme/*", "acme/website", True),
        ("acme/*", "acme/website/x", False),
        ("acme/*", "acme-evil/website", False),
        ("refs/heads/release-*", "refs/heads/release-1", True),
        ("refs/heads/release-*", "refs/heads/release-1/evil", False),
        ("refs/**", "refs/heads/a/b", True),
        ("refs/**", "xrefs/heads", False),
        ("a.c", "abc", False),
        ("main", "main\n", False),
        ("main*", "main\nevil", True),
        ("*", "", True),
        ("Acme", "acme", False),
        ("", "", True),
        ("", "a", False),
        ("repo:org/*", "repo:org/a/b", False),
        ("repo:org/*", "repo:org/a\nb", True),
        ("repo:org/*", "repo:org\u2215a", False),
        ("repo:org/*", "repo:org%2Fa", False),
        ("*/b/*", "a/b/c", True),
        ("*b*", "a/b", False),
        ("**/b*c", "x/b/c/bc", True),
        ("a**b*c", "ab/bxc", True),
        ("***", "a/b", True),
    ],
)
def test_a_pattern_is_what_it_says(pattern: str, value: str, matches: bool) -> None:
    """A star ends at a slash, two do not; all else stands for itself, to the last character."""
    assert matches == meets_pattern(compile_pattern(pattern), value)


def _expression(pattern: str) -> str:
    """A pattern as a regular expression, which says the same more slowly."""
    parts = re.split(r"(\*\*?)", pattern)
    return "".join({"*": "[^/]*", "**": ".*"}.get(part, re.escape(part)) for part in parts)


@given(st.text("a/*", max_size=6), st.text("ab/", max_size=10))
def test_a_pattern_means_the_same_as_a_regular_expression(pattern: str, value: str) -> None:
    """Whatever wildcards stand beside each other."""
    expected = re.fullmatch(_expression(pattern), value, re.DOTALL) is not None
    assert expected == meets_pattern(compile_pattern(pattern), value)


class _CountedText(str):
    """A text that counts how often somebody looks into it."""

    looks = 0

    def startswith(self, *arguments: Any) -> bool:
        self.looks += 1
        return super().startswith(*arguments)

    def __getitem__(self, key: Any) -> str:
        self.looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("pattern", ["**-**-**-**!", "*-*-*-*!", "**-*-**-*!"])
def test_no_value_takes_long_to_compare(pattern: str) -> None:
    """A job chooses the value: twelve thousand characters are looked at a few times each, not in all combinations."""
    parts, value = compile_pattern(pattern), _CountedText("-" * 12_000)
    assert not meets_pattern(parts, value)
    assert 0 < value.looks <= len(parts) * (len(value) + 1)


@pytest.mark.parametrize(
    ("claim", "pattern", "names"),
    [
        ("repository", "acme/website", True),
        ("repository", "acme/*", True),
        ("repository", "acme*", False),
        ("repository", "*/website", False),
        ("repository", "**", False),
        ("repository_owner", "acme", True),
        ("repository_owner", "ac*", False),
        ("project_path", "acme/**", True),
        ("sub", "repo:acme/**", True),
        ("sub", "repo:acme/website:ref:refs/heads/main", True),
        ("sub", "repo:*", False),
        ("sub", "repo:acme*", False),
        ("sub", "organization:acme:pipeline:**", True),
        ("sub", "project_path:acme/**", True),
        ("sub", "repository_owner:acme:environment:*", True),
        ("sub", "ref:refs/heads/main", False),
        ("sub", "environment:prod:ref:refs/heads/main", False),
    ],
)
def test_a_pattern_names_a_customer_of_a_shared_issuer(claim: str, pattern: str, names: bool) -> None:
    """What anybody could register does not."""
    assert names == names_tenant(claim, pattern)


GITHUB = {
    "sub": "repo:acme/website:ref:refs/heads/main",
    "repository": "acme/website",
    "workflow": "build",
    "run_number": "7",
    "run_attempt": "1",
}


@pytest.mark.parametrize(
    ("claims", "lineage", "name"),
    [
        (GITHUB, "acme/website", "acme/website build 7.1"),
        (
            {"sub": "x", "project_path": "acme/site", "pipeline_id": 5, "job_id": "6"},
            "acme/site",
            "acme/site pipeline 5 job 6",
        ),
        (
            {"oidc.circleci.com/project-id": "p", "oidc.circleci.com/job-id": "j", "sub": "x"},
            "p",
            "p job j",
        ),
        (
            {"sub": "x", "organization_slug": "acme", "pipeline_slug": "site", "build_number": 3, "job_id": "j"},
            "acme/site",
            "acme/site build 3 job j",
        ),
        ({"sub": "someone"}, "someone", "someone"),
        ({"repository": ["a"], "sub": "someone"}, "someone", "someone"),
        ({"repository": "", "sub": "someone"}, "someone", "someone"),
        ({"sub": ""}, None, None),
        ({}, None, None),
    ],
)
def test_each_provider_has_a_lineage_and_a_name(
    claims: dict[str, object], lineage: str | None, name: str | None
) -> None:
    """Without words in the policy, jobs are counted by repository and named after their run."""
    assert lineage == fill(LINEAGES, claims)
    assert name == fill(NAMES, claims)


def test_a_value_is_no_template() -> None:
    """Braces in a claim stand for themselves: a job cannot take another claim's value."""
    assert "{owner}" == fill(["{repository}"], {"repository": "{owner}", "owner": "acme"})
