"""What a rule's `etag` table comes to."""

import pytest

from gateway.core.http.etags import BY_VALUE, TagRule, build_weak_tag
from gateway.core.policies.model import Rule
from tests.core.samples import SHOP, load


def rule_with(etag: str) -> Rule:
    rule = load(SHOP.replace("cache = {", f"{etag}\ncache = {{", 1)).match("", "GET", ("items", "1"))
    assert rule is not None
    return rule


@pytest.mark.parametrize(
    ("written", "compiled"),
    [
        ("", BY_VALUE),
        ("etag = {}", BY_VALUE),
        ("etag = { replace = true }", TagRule(replaces=True)),
        ('etag = { ignore = ["/at", "/items/*/a~1b"] }', TagRule(pointers=(("at",), ("items", "*", "a/b")))),
        (
            'etag = { ignore = ["column:Exported at", "line:#", "line:é"] }',
            TagRule(columns=frozenset({"Exported at"}), lines=(b"#", "é".encode())),
        ),
        (
            'etag = { ignore = ["element:at", "attribute:date", "element:dc:date"], replace = true }',
            TagRule(replaces=True, elements=frozenset({"at", "dc:date"}), attributes=frozenset({"date"})),
        ),
    ],
)
def test_each_thing_to_ignore_is_kept_by_its_kind(written: str, compiled: TagRule) -> None:
    """The list of a file is sorted by kind; without a table, content is compared by value and nothing ignored."""
    assert compiled == rule_with(written).etag


def test_a_rule_as_it_is_written_makes_the_tags() -> None:
    """From the policy file to the tag: what the rule ignores makes none anew."""
    rule = rule_with('etag = { ignore = ["/generatedAt"] }').etag
    one, other = b'{"generatedAt":"10:00","a":[1]}', b'{"a":[1.0],"generatedAt":"11:00"}'
    assert build_weak_tag(one, b"application/json", rule) == build_weak_tag(other, b"application/json", rule)
