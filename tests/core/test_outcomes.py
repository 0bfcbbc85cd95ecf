"""What became of a request that meets no rule."""

import pytest

from gateway.core.admission.decision import Refused
from gateway.core.admission.outcomes import build_refused, refuse_unmatched
from gateway.core.http.reasons import Reason
from gateway.core.policies.loading import load_policies
from tests.core.samples import SHOP, make_request


def shop(name: str, hosts: str = "", path: str = "/items", absent: str = "nothing here") -> str:
    text = SHOP.replace('"shop"', f'"{name}"').replace("/items", path).replace("nothing here", absent)
    return f"hosts = {hosts}\n{text}" if hosts else text


POLICIES = load_policies(
    {
        "shop.toml": shop("shop", '["shop.example", "both.example"]'),
        "twin.toml": shop("twin", '["both.example"]', path="/twins"),
        "open.toml": shop("open", absent="not here either"),
    }
)


@pytest.mark.parametrize(
    ("host", "policy"), [("shop.example", "shop"), ("both.example", None), ("other.example", "open"), ("", "open")]
)
def test_what_meets_no_rule_is_refused_in_the_words_of_its_host(host: str, policy: str | None) -> None:
    """Of the one policy that names the host, else of the one for any host; of two nobody can tell whose it is."""
    refused = refuse_unmatched(Reason.NO_MATCHING_RULE, POLICIES, host)
    assert Reason.NO_MATCHING_RULE == refused.reason
    assert policy == (refused.policy.name if refused.policy else None)


def test_an_error_format_has_the_404_of_its_host() -> None:
    """Where no policy can be told, it is problem details."""
    contents = [
        build_refused(make_request(), refuse_unmatched(Reason.NO_MATCHING_RULE, POLICIES, host)).content
        for host in ("shop.example", "other.example", "both.example")
    ]
    assert contents[:2] == [b'{"error":"nothing here"}', b'{"error":"not here either"}']
    assert build_refused(make_request(), Refused(Reason.NO_MATCHING_RULE)).content == contents[2]
