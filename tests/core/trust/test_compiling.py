"""`[[trust]]` in a policy file: what it compiles to, and each mistake with its place."""

from pathlib import Path

import pytest

from gateway.core.errors import ConfigurationError
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import Policy

POLICY = """
name = "shop"
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["shp_"]
[scopes]
read = { description = "Read", aliases = ["reads"] }
[plans.ci]
[[rules]]
match = "GET /**"
[[trust]]
issuer = "https://issuer.example"
audience = "https://api.example.com"
claims = { repository = "acme/website" }
scopes = ["reads"]
plan = "ci"
project = "website"
"""
GITHUB = "https://token.actions.githubusercontent.com"


def load(*changes: tuple[str, str]) -> Policy:
    text = POLICY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load_policies({"shop.toml": text}).policies["shop"]


def mistakes(*changes: tuple[str, str]) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(*changes)
    return str(raised.value)


def test_a_trust_has_own_names_and_defaults() -> None:
    """Aliases of scopes become their own names; a token lives ten minutes."""
    (trust,) = load().trusts
    assert (("read",), 600, frozenset({"https://api.example.com"})) == (
        trust.scopes,
        trust.lifetime_seconds,
        trust.audiences,
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('issuer = "https', 'issuer = "http', "$.trust[0].issuer"),
        ('issuer.example"', 'issuer.example/"', "$.trust[0].issuer"),
        ('{ repository = "acme/website" }', "{}", "$.trust[0].claims: name at least one claim"),
        ('"acme/website"', "[]", "$.trust[0].claims"),
        ('scopes = ["reads"]', 'scopes = ["raed"]', "$.trust[0].scopes[0]: unknown scope 'raed'"),
        ('scopes = ["reads"]', "", "$.trust[0].scopes: name the scopes"),
        ('plan = "ci"', 'plan = "cj"', "$.trust[0].plan: unknown plan 'cj': known are ci"),
        ('project = "website"', "", "$.trust[0].project: each token of the policy has a project"),
        ('project = "website"', 'project = "{repository"', "$.trust[0].project: '{repository': braces"),
        ('plan = "ci"', 'lifetime = "11m"', "$.trust[0].lifetime: from 30s to 10m are allowed"),
        ('plan = "ci"', 'lifetime = "29s"', "$.trust[0].lifetime: from 30s to 10m are allowed"),
        ('plan = "ci"', 'lifespan = "5m"', "$.trust[0].lifespan: unknown key 'lifespan'"),
        ('prefixes = ["shp_"]', 'prefixes = ["shp_"]\nnumbers = true', "$.trust: a policy with numbers"),
    ],
)
def test_each_mistake_has_its_place(old: str, new: str, told: str) -> None:
    """So that an operator finds it in the file."""
    assert told in mistakes((old, new))


@pytest.mark.parametrize(
    "claims",
    [
        '{ ref = "refs/heads/main" }',
        '{ repository = "**" }',
        '{ repository = "*/website" }',
        '{ repository = ["acme/website", "*/website"] }',
        '{ sub = "repo:*" }',
        '{ repository_owner = "acme*" }',
        '{ sub = "ref:refs/heads/main" }',
        '{ sub = "environment:production:*" }',
        '{ job_workflow_ref = "acme/workflows/.github/workflows/deploy.yml@refs/heads/main" }',
    ],
)
def test_nobody_trusts_everybody_by_accident(claims: str) -> None:
    """GitHub signs for all of its users: a trust names whose jobs are meant."""
    told = mistakes(("https://issuer.example", GITHUB), ('{ repository = "acme/website" }', claims))
    assert f"$.trust[0].claims: {GITHUB} signs for everybody" in told


@pytest.mark.parametrize("claims", ['{ repository = "acme/*" }', '{ sub = "repo:acme/website:ref:refs/heads/main" }'])
def test_a_customer_of_a_shared_issuer_is_trusted(claims: str) -> None:
    """By the repository, its owner, or the subject."""
    assert load(("https://issuer.example", GITHUB), ('{ repository = "acme/website" }', claims)).trusts


def test_a_trust_has_tests() -> None:
    """A test that fails names what was found; those that pass let the file be served."""
    good = '[[trust.tests]]\nclaims = { repository = "acme/website" }\nexpect = "granted"\n'
    bad = '[[trust.tests]]\nclaims = { repository = "evil/website" }\nexpect = "granted"\n'
    end = ('project = "website"\n', f'project = "website"\n{good}')
    assert load(end).version == load().version
    told = mistakes((end[0], end[1] + bad))
    assert "$.trust[0].tests[1]: it is refused (repository is 'evil/website': it matches no value of the trust)" in told


def test_the_guide_shows_a_trust_that_is_taken() -> None:
    """What the page has is pasted into files."""
    page = (Path(__file__).parents[3] / "docs" / "guide" / "ci-without-secrets.md").read_text(encoding="utf-8")
    shown = page.partition("```toml\n")[2].partition("```")[0].replace("exports:read", "read")
    policy = load_policies({"shop.toml": POLICY.partition("[[trust]]")[0] + shown}).policies["shop"]
    assert 1 == len(policy.trusts)
