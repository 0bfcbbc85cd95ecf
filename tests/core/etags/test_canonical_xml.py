"""XML without some elements and attributes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.etags import TagRule, build_weak_tag

RULE = TagRule(elements=frozenset({"generated"}), attributes=frozenset({"date"}))
BOMB = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">%b]><r>&x19;</r>""" % b"".join(
    b'<!ENTITY x%d "%b">' % (number, b"&x%d;" % (number - 1) * 10 if number else b"&a;" * 10) for number in range(20)
)


def tag(content: bytes | str, rule: TagRule = RULE) -> bytes:
    return build_weak_tag(content.encode() if isinstance(content, str) else content, b"application/xml", rule)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<r><generated>1</generated></r>", "<r><generated>2<b/></generated></r>"),
        ("<r>a<generated/>b</r>", "<r>ab</r>"),
        ("<r><generated><generated/>1</generated>2</r>", "<r>2</r>"),
        ('<r date="1" id="1"/>', '<r date="2" id="1"/>'),
        ('<r><a><b date="1"/></a></r>', "<r><a><b/></a></r>"),
        ('<x:r xmlns:x="u"><x:generated/></x:r>', '<x:r xmlns:x="u"/>'),
        ('<r a="1" b="2"/>', "<r  b='2'\n a='1'></r>"),
        ("<r>&lt;&#233;</r>", "<r><![CDATA[<é]]></r>"),
        ("<r>a<!-- 1 -->b</r>", "<r>ab</r>"),
        ("<r>\r\n</r>", "<r>\n</r>"),
        ('<?xml version="1.0" encoding="iso-8859-1"?><r>\u00e9</r>', "<r>\u00c3\u00a9</r>"),
    ],
)
def test_the_same_document(one: str, other: str) -> None:
    """The ignored do not matter, nor do spellings between which a parser does not tell."""
    assert tag(one) == tag(other)
    assert tag(one, TagRule()) != tag(other, TagRule())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<r>1</r>", "<r>2</r>"),
        ("<r> <a/></r>", "<r><a/></r>"),
        ("<r><a/><b/></r>", "<r><b/><a/></r>"),
        ("<r><a><b/></a></r>", "<r><a/><b/></r>"),
        ('<r a="1"/>', '<r a="2"/>'),
        ('<r a="b"/>', '<r b="a"/>'),
        ("<r><a/>1</r>", "<r>1<a/></r>"),
        ("<r>1<generated/></r>", "<r>2<generated/></r>"),
        ('<x:r xmlns:x="u"/>', '<x:r xmlns:x="v"/>'),
        ("<r><?a 1?></r>", "<r><?a 2?></r>"),
        ("<r>&amp;lt;</r>", "<r>&lt;</r>"),
        ("<generate>1</generate>", "<generate>2</generate>"),
    ],
)
def test_another_document(one: str, other: str) -> None:
    """Order, nesting, blanks, names and namespaces count."""
    assert tag(one) != tag(other)


def test_a_name_with_prefix_is_that_one_only() -> None:
    """`x:date` is ignored under its prefix, `date` under any."""
    one, other = '<r xmlns:x="u" x:date="1" date="1"/>', '<r xmlns:x="u" x:date="2" date="1"/>'
    assert tag(one, TagRule(attributes=frozenset({"x:date"}))) == tag(other, TagRule(attributes=frozenset({"x:date"})))
    changed = other.replace(' date="1"', ' date="2"')
    assert tag(one) == tag(changed)
    assert tag(other, TagRule(attributes=frozenset({"x:date"}))) != tag(
        changed, TagRule(attributes=frozenset({"x:date"}))
    )


@given(st.text("ab<&é\u4e2d", max_size=20), st.integers(0, 20000))
def test_long_texts_are_one_text(text: str, length: int) -> None:
    """Where the parser cuts a text into pieces has no influence, however it is spelt."""
    whole = "x" * length + text
    escaped = whole.replace("&", "&amp;").replace("<", "&lt;")
    numeric = "".join(f"&#{ord(character)};" for character in whole)
    assert tag(f"<r>{escaped}</r>") == tag(f"<r>{numeric}</r>")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<r>",
        b"<r></s>",
        b"<r>&unknown;</r>",
        b'<?xml version="1.0" encoding="unheard-of"?><r/>',
        b'<?xml version="1.0" encoding="utf-7"?><r/>',
        b'<?xml version="1.0" encoding="cp037"?><r/>',
        b"<r>\xff</r>",
        "<r/>".encode("utf-16"),
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><r/>',
        BOMB,
        BOMB.decode().encode("utf-16"),
        b"not <xml",
    ],
)
def test_what_is_not_parsed_is_taken_by_its_bytes(content: bytes) -> None:
    """Malformed documents, unknown encodings and all that has a DOCTYPE: nothing is expanded, fetched, or fails."""
    assert build_weak_tag(content) == tag(content)


def test_depth_costs_nothing() -> None:
    """The parser's depth is not the interpreter's: deep documents are read like others."""
    depth = 100_000
    opened, closed = b"<a>" * depth, b"</a>" * depth
    one, other = (opened + b"<generated>%d</generated>" % number + closed for number in (1, 2))
    assert tag(one) == tag(other) != tag(opened + b"1" + closed)


@pytest.mark.parametrize("content_type", [b"text/xml", b"application/xml; charset=utf-8", b"image/svg+xml"])
def test_the_media_type_says_what_is_xml(content_type: bytes) -> None:
    """XML is what is called xml or +xml (RFC 7303 4.2)."""
    one, other = (build_weak_tag(b"<r date='%d'/>" % number, content_type, RULE) for number in (1, 2))
    assert one == other


def test_without_a_rule_every_byte_counts() -> None:
    """XML is compared as parsed only where a rule has elements or attributes to ignore."""
    assert build_weak_tag(b"<r/>") == tag(b"<r/>", TagRule()) != tag(b"<r />", TagRule())
