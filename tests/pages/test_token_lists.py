"""What forms for tokens offer."""

from msgspec.structs import replace

from gateway.pages.token_list import group_scopes
from tests.core.samples import load_shop

POLICY = load_shop()


def test_a_form_offers_no_scope_that_no_plan_includes() -> None:
    """It is there for requests to be refused by it."""
    plans = {name: replace(plan, held=frozenset({"read"})) for name, plan in POLICY.plans.items()}
    offered = [scope for _, scopes in group_scopes(replace(POLICY, plans=plans)) for scope in scopes]
    assert ["read"] == offered
    assert sorted(POLICY.scopes) == sorted(scope for _, scopes in group_scopes(POLICY) for scope in scopes)
