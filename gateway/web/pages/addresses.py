"""Addresses of a product's API, as those who pull from it write them."""

from urllib.parse import quote

from gateway.core.pages.exports import default_extension
from gateway.core.policies.rules import Policy, Rule
from gateway.core.records import TokenRecord
from gateway.web.pages.parts import Pages


def base_url(pages: Pages, policy: Policy) -> str:
    """Where the product's API is: its host, or the public listener where any host will do."""
    return f"https://{policy.hosts[0]}" if policy.hosts else f"http://{pages.listen}"


def find_example(pages: Pages, policy: Policy, record: TokenRecord) -> tuple[str, str]:
    """The URL of something that the token may read, its project filled in, and the extension of a file to keep it in.

    An export if there is one; the extension is empty where nobody knows what comes.
    """
    rules = [rule for rule in pages.set.rules_of(policy.name) if _may_read(rule)]
    rules.sort(key=lambda rule: (rule.variants is None, rule.cache is None, rule.pattern.matches_below))
    if not rules:
        return base_url(pages, policy) + "/", ""
    return base_url(pages, policy) + _path_of(rules[0], record), default_extension(rules[0].variants)


def _may_read(rule: Rule) -> bool:
    return not rule.is_public and ("GET" in rule.pattern.methods or "*" in rule.pattern.methods)


def _path_of(rule: Rule, record: TokenRecord) -> str:
    segments = [
        quote(record.project, safe="") if index == rule.project_segment and record.project else segment
        for index, segment in enumerate(rule.pattern.segments)
    ]
    return "/" + "/".join(segments)
