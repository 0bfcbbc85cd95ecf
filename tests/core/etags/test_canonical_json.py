"""JSON by value: what is the same, what is not, and what has no value."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.etags import MAXIMUM_DEPTH, TagRule, build_weak_tag, split_pointer

JSON = b"application/json"

# Numbers are pairs: a whole number and a power of ten. Python's own would be equal to booleans, or lose digits.
numbers = st.tuples(st.integers(-(10**30), 10**30) | st.integers(-12, 12), st.integers(-30, 30))
names = st.text('ab"\\/é\u2028\x7f:,{}[]u0022', max_size=4)
leaves = st.none() | st.booleans() | numbers | names | st.text(max_size=4)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))
blanks = st.text(" \t\r\n", max_size=3)


def meaning(value: Any) -> Any:
    """What of a value has to agree for two to be equal."""
    if isinstance(value, tuple):
        return "number", Fraction(value[0]) * Fraction(10) ** value[1]
    if isinstance(value, list):
        return "array", [meaning(item) for item in value]
    if isinstance(value, dict):
        return "object", {name: meaning(item) for name, item in value.items()}
    return type(value), value


def spell_number(draw: st.DrawFn, whole: int, power: int) -> str:
    """One of many ways to write a number down."""
    zeros = draw(st.integers(0, 3)) if whole else 0
    digits = str(abs(whole)) + "0" * zeros
    behind_point = draw(st.integers(0, len(digits) + 1))
    digits = digits.rjust(behind_point + 1, "0")
    power += behind_point - zeros
    text = "-" if whole < 0 else draw(st.sampled_from(["", "-"])) if whole == 0 else ""
    text += digits[: len(digits) - behind_point] + ("." + digits[-behind_point:] if behind_point else "")
    if power == 0 and draw(st.booleans()):
        return text
    return text + draw(st.sampled_from("eE")) + draw(st.sampled_from([f"{power:+d}", f"{power:+03d}", str(power)]))


def spell_text(draw: st.DrawFn, text: str) -> str:
    """One of many ways to write a string down."""
    spelt = ""
    for character in text:
        escaped = json.dumps(character)[1:-1]
        units = character.encode("utf-16-be")
        numeric = "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))
        plain = [character] if character not in '"\\' and character >= " " else []
        spelt += draw(st.sampled_from([escaped, numeric, *plain, *(["\\/"] if character == "/" else [])]))
    return f'"{spelt}"'


def spell(draw: st.DrawFn, value: Any) -> str:
    """One of many ways to write a value down: key order, blanks, escapes and numbers by chance."""
    before, after = draw(blanks), draw(blanks)
    if isinstance(value, dict):
        members = draw(st.permutations(list(value.items())))
        inner = ",".join(f"{before}{spell_text(draw, name)}{after}:{spell(draw, item)}" for name, item in members)
        text = "{" + inner + after + "}"
    elif isinstance(value, list):
        text = "[" + before + ",".join(spell(draw, item) for item in value) + "]"
    elif isinstance(value, tuple):
        text = spell_number(draw, *value)
    else:
        text = spell_text(draw, value) if isinstance(value, str) else json.dumps(value)
    return before + text + after


@st.composite
def spellings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two ways to write one value down."""
    value = draw(values)
    return spell(draw, value).encode(), spell(draw, value).encode()


@st.composite
def documents(draw: st.DrawFn) -> tuple[Any, bytes]:
    """A value with one way to write it down."""
    value = draw(values)
    return meaning(value), spell(draw, value).encode()


def tag(content: bytes | str, *pointers: str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return build_weak_tag(content, JSON, TagRule(pointers=tuple(map(split_pointer, pointers))))


def is_by_value(content: bytes) -> bool:
    return tag(content) != build_weak_tag(content)


@given(spellings())
def test_spelling_does_not_matter(pair: tuple[bytes, bytes]) -> None:
    """Key order, blanks, escapes and the way numbers are written leave the tag as it is."""
    one, other = pair
    assert is_by_value(one)
    assert tag(one) == tag(other)


@given(documents(), documents())
def test_values_that_differ_have_different_tags(one: tuple[Any, bytes], other: tuple[Any, bytes]) -> None:
    """Tags are equal where the values are, and nowhere else."""
    assert (one[0] == other[0]) == (tag(one[1]) == tag(other[1]))


@given(st.integers(1, 60), st.integers(0, 59), st.integers(0, 20), st.integers(0, 9))
def test_every_digit_counts(length: int, position: int, point: int, digit: int) -> None:
    """A number that differs in one digit, however far behind, is another number."""
    text = "3" * length
    changed = text[: position % length] + str(digit or 1) + text[position % length + 1 :]
    one, other = (value + f"e-{point}" for value in (text, changed))
    assert (Decimal(one) == Decimal(other)) == (tag(one) == tag(other))
    assert (text == changed) == (tag(text) == tag(changed))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1", "1e0"),
        ("100", "1E+2"),
        ("0", "-0.0"),
        ("0", "0e999"),
        ("0.1", "0.10000000000000000000000000"),
        ("1e-320", "0.1e-319"),
        ("1e400", "10e399"),
        ("[9007199254740993.0]", "[9007199254740993]"),
        ('"\\u00e9\\/"', '"é/"'),
        ('{"a":1,"b":[]}', '{\n  "b": [],\n  "a": 1\n}\n'),
        ('{"\\u0022":"\\\\u0022"}', '{"\\"":"\\u005cu0022"}'),
    ],
)
def test_the_same_value(one: str, other: str) -> None:
    """Numbers are equal as numbers, strings as strings, objects whatever their order."""
    assert tag(one) == tag(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("9007199254740993", "9007199254740992"),
        ("9007199254740993.0", "9007199254740992.0"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("1.00000000000000000000001", "1"),
        ("1e-320", "1.00001e-320"),
        ("1e400", "1e401"),
        ("1e999999", "1e999998"),
        ("1", '"1"'),
        ("1.00000000000000000000001", '"1.00000000000000000000001"'),
        ("1", "true"),
        ("0", "false"),
        ("0", "null"),
        ("[]", "{}"),
        ("[1,2]", "[2,1]"),
        ("[1]", "[[1]]"),
        ('"\u00e9"', '"e\u0301"'),
        ('{"a":null}', "{}"),
    ],
)
def test_another_value(one: str, other: str) -> None:
    """No digit is lost, no type taken for another, no text normalised, and arrays have an order."""
    assert tag(one) != tag(other)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b'"\\ud800"',
        b'"\xff"',
        b"{}{}",
        "{}".encode("utf-16"),
        b"1e99999999999999999999999",
        b"9" * 5000,
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"\\u0022":1,"\\"":1}]',
        b'{"\\\\":"\\\\u0022","\\u005c":0}',
        b'{"a":{"b":"c"},"a":{}}',
    ],
)
def test_what_has_no_single_value_is_taken_by_its_bytes(content: bytes) -> None:
    """Malformed JSON, numbers beyond all bounds and keys given twice: every byte counts, and nothing fails."""
    assert build_weak_tag(content) == tag(content) == tag(content, "/a")


def test_a_byte_order_mark_is_told_apart_and_nothing_else_changes() -> None:
    """Compared by value too (RFC 8259 8.1), but not taken for the same as without: not every reader passes over it."""
    mark = b"\xef\xbb\xbf"
    assert tag(mark + b'{"a": 1, "b": 2}') == tag(mark + b'{"b":2,"a":1}')
    assert tag(mark + b'{"a": 1, "b": 2}', "/b") == tag(mark + b'{"a":1,"b":3}', "/b")
    assert tag(mark + b"1") != tag(b"1")
    assert build_weak_tag(mark * 2000 + b"1") == tag(mark * 2000 + b"1")


@st.composite
def documents_with_a_key_twice(draw: st.DrawFn) -> bytes:
    value = draw(st.dictionaries(names, values, min_size=1, max_size=4))
    name = draw(st.sampled_from(sorted(value)))
    twice = f"{{{spell_text(draw, name)}:{spell(draw, draw(values))}," + spell(draw, value).lstrip()[1:]
    return draw(st.sampled_from(["%s", "[%s]", '{"x":[0,%s]}'])).replace("%s", twice).encode()


@given(documents_with_a_key_twice())
def test_a_key_given_twice_is_always_noticed(content: bytes) -> None:
    """Readers disagree on which of the two counts, so neither may be left out of the tag."""
    assert not is_by_value(content)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":1},', "]")])
def test_the_depth_is_bounded(opening: str, closing: str) -> None:
    """Nesting is followed to a depth that is the same for every caller; what is deeper is taken by its bytes."""

    def nested(depth: int) -> bytes:
        return (opening * (depth - 1) + "[0,0]" + closing * (depth - 1)).encode()

    assert is_by_value(nested(MAXIMUM_DEPTH))
    assert not is_by_value(nested(MAXIMUM_DEPTH + 1))
    assert not is_by_value(nested(100_000))


def test_many_that_are_not_deep() -> None:
    """It is the depth that is bounded, not how much there is."""
    assert tag(b"[" + b"[{}]," * 1000 + b"{}]") == tag(b"[ " + b"[ {} ]," * 1000 + b"{}]")


@pytest.mark.parametrize(
    ("pointer", "one", "other"),
    [
        ("/at", '{"at":1,"b":2}', '{"b":2,"at":{"x":[]}}'),
        ("/at", '{"at":1,"b":2}', '{"b":2}'),
        ("/meta/at", '{"meta":{"at":1,"n":1}}', '{"meta":{"n":1,"at":2}}'),
        ("/items/1/at", '{"items":[{"at":1},{"at":1}]}', '{"items":[{"at":1},{"at":2}]}'),
        ("/items/*/at", '{"items":[{"at":1},{"at":2},3]}', '{"items":[{"at":3},{},3]}'),
        ("/*/*/at", '[[{"at":1}],[{"at":1}]]', '[[{"at":2}],[{"at":3}]]'),
        ("/0", "[1,2]", "[3,2]"),
        ("/*", '{"*":1,"a":1}', '{"*":2,"a":1}'),
        ("/a~1b~0c", '{"a/b~c":1}', '{"a/b~c":2}'),
        ("/", '{"":1}', '{"":2}'),
        ("/é", '{"\\u00e9":1}', '{"é":2}'),
    ],
)
def test_what_a_pointer_leads_to_is_ignored(pointer: str, one: str, other: str) -> None:
    """A pointer leads as RFC 6901 says; `*` is all items of an array, and an ordinary name in an object."""
    assert tag(one, pointer) == tag(other, pointer)
    assert tag(one) != tag(other)


@pytest.mark.parametrize(
    ("pointer", "one", "other"),
    [
        ("/at", '{"meta":{"at":1}}', '{"meta":{"at":2}}'),
        ("/items/1/at", '{"items":[{"at":1},{}]}', '{"items":[{"at":2},{}]}'),
        ("/items/*/at", '{"items":[{"at":1}]}', '{"items":[{"at":1},{}]}'),
        ("/*", '{"a":1}', '{"a":2}'),
        ("/0", "[1,2]", "[2]"),
        ("/01", "[1,2]", "[1,3]"),
        ("/-", "[1,2]", "[1,3]"),
        ("/-1", "[1,2]", "[1,3]"),
        ("/²", "[1,2,3]", "[1,2,4]"),
        ("/" + "1" * 5000, "[1]", "[2]"),
        ("/a/b", '{"a":"b"}', '{"a":"c"}'),
    ],
)
def test_nothing_else_is_ignored(pointer: str, one: str, other: str) -> None:
    """What the pointer does not lead to counts, and so does the number of an array's items."""
    assert tag(one, pointer) != tag(other, pointer)


@given(values, values, values)
def test_ignored_values_never_matter(rest: Any, one: Any, other: Any) -> None:
    """Whatever stands at the pointer, the tag is that of the rest."""

    def document(at: Any) -> str:
        return json.dumps({"rest": rest, "at": at, "all": [{"at": at, "id": 1}] * 2})

    assert tag(document(one), "/at", "/all/*/at") == tag(document(other), "/at", "/all/*/at")


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        (b"application/json; charset=utf-8", True),
        (b"Application/Geo+JSON", True),
        (b"application/problem+json", True),
        (b"text/json", True),
        (b"text/plain", False),
        (b"application/jsonp", False),
        (b"json", True),
        (b"", False),
        (None, False),
    ],
)
def test_the_media_type_says_what_is_json(content_type: bytes | None, is_json: bool) -> None:
    """JSON is what is called json or +json (RFC 6839 3.1); everything else is taken by its bytes."""
    assert is_json == (build_weak_tag(b"[1]", content_type) == build_weak_tag(b" [1.0] ", content_type))
