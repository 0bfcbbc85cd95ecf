"""Policies of the tests of management, in a source that never reloads."""

from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import PolicySet
from tests.support.policies import SMALL

UNIQUE = """
name = "unique"
hosts = ["unique.example"]
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["unq_"], unique_names = true, numbers = true }
[scopes]
read = "Read"
write = "Write"
[[rules]]
match = "* /**"
[[rules]]
match = "GET /projects/{project}/export"
[rules.variants]
document = "translations"
options = { format = { values = ["json", "csv", "xml"] }, lang = {} }
"""


class FixedPolicies:
    """A policy source that never reloads."""

    current: PolicySet = load_policies({"small.toml": SMALL, "unique.toml": UNIQUE})
