"""The tests that a policy file has for itself."""

import pytest

from gateway.core.errors import ConfigurationError
from gateway.core.policies.loading import load_policies

POLICY = """
name = "api"
hosts = ["api.example.com"]
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["api_"], bound_to = "owner", parent_scope = "read" }
scopes = { read = "Read", write = "Write" }
quotas = { minute = "100/minute", day = { limit = "150/day", algorithm = "moving-window" }, some = { concurrent = 2 } }

[plans.free]
scopes = ["read"]

[plans.pro]

[[rules]]
match = "GET /export"
scopes = ["read"]
cache = { fresh = "5m" }
cost = { miss = 50, hit = 1 }

[[rules]]
match = "GET /plain"
scopes = ["read"]

[[rules]]
match = "POST /x"
scopes = ["write"]
"""
OTHER = """
name = "other"
upstream = "http://127.0.0.1:9002"
token = { prefixes = ["oth_"] }
scopes = { read = "Read" }

[[rules]]
match = "GET /other"
scopes = ["read"]

[[rules]]
match = "GET /open"
public = true
"""


def check(test: str) -> list[str]:
    """What is wrong with a policy that has this test."""
    try:
        load_policies({"api.toml": f"{POLICY}\n[[tests]]\n{test}\n", "other.toml": OTHER})
    except ConfigurationError as error:
        return list(error.mistakes)
    return []


@pytest.mark.parametrize(
    "test",
    [
        'request = "GET /plain"\nrequests = 100\nexpect = 200',
        'request = "GET /plain"\nrequests = 101\nexpect = 429',
        'request = "GET /plain"\nrequests = 101\nafter = "59s"\nexpect = 429',
        'request = "GET /plain"\nrequests = 100\nafter = "60s"\nexpect = 200',
        'request = "GET /export"\nrequests = 3\nexpect = 429',
        'request = "GET /export"\nrequests = 51\noutcome = "hit"\nexpect = 200',
        'request = "GET /export"\nrequests = 52\noutcome = "hit"\nexpect = 429',
        'request = "POST /x"\nexpect = 403',
        'request = "POST /x"\nplan = "pro"\nexpect = 200',
        'request = "POST /x"\nowner = { plan = "pro" }\nexpect = 200',
        'request = "POST /x"\nplan = "pro"\nowner = { plan = "free" }\nexpect = 403',
        'request = "GET /plain"\nowner = { status = "blocked" }\nexpect = 403',
        'request = "GET /plain"\nowner = { scopes = ["write"] }\nexpect = 403',
        'request = "POST /x"\nplan = "pro"\nparent_scopes = ["read"]\nexpect = 403',
        'request = "POST /x"\nplan = "pro"\nparent_scopes = ["read", "write"]\nexpect = 200',
        'request = "GET /other"\nexpect = 404',
        'request = "GET /other"\nhost = "elsewhere.example"\nexpect = 401',
        'request = "GET /open"\nhost = "elsewhere.example"\nexpect = 200',
        'request = "GET /open"\nhost = "api.example.com"\nexpect = 404',
        'request = "GET /other"\nhost = "elsewhere.example"\ntoken = false\nexpect = 401',
    ],
)
def test_a_status_is_what_the_policies_give(test: str) -> None:
    """And any other status is a mistake."""
    assert [] == check(test)
    wrong = test.replace("expect = 200", "expect = 418") if "expect = 200" in test else test[:-3] + "200"
    assert ["api.toml: $.tests[0]"] == [one[: len("api.toml: $.tests[0]")] for one in check(wrong)]


@pytest.mark.parametrize(
    ("test", "mistake"),
    [
        (
            'request = "GET /plain"\nrequests = 101\nafter = "1m"\nexpect = 200',
            "api.toml: $.tests[0]: 'GET /plain', 101 times, and once more after 1m gets 200",
        ),
        (
            'request = "GET /plain"\nafter = "soon"\nexpect = 200',
            "api.toml: $.tests[0].after: 'soon' is not a duration",
        ),
        ('request = "GET /plain"\nplan = "pr"\nexpect = 200', "api.toml: $.tests[0].plan: unknown plan 'pr'"),
        (
            'request = "GET /plain"\nowner = { plan = "x" }\nexpect = 200',
            "api.toml: $.tests[0].owner.plan: unknown plan 'x'",
        ),
        (
            'request = "GET /plain"\nparent_scopes = ["x"]\nexpect = 200',
            "api.toml: $.tests[0].parent_scopes[0]: unknown",
        ),
        ('request = "GET /plain"\nrequests = 0\nexpect = 200', "api.toml: $.tests[0].requests: "),
    ],
)
def test_a_mistake_names_its_place(test: str, mistake: str) -> None:
    """In the test, and by its key."""
    found = check(test)
    if "gets 200" in mistake:
        assert [] == found
        found = check(test.replace("expect = 200", "expect = 429"))
    assert [True] == [one.startswith(mistake) for one in found]
