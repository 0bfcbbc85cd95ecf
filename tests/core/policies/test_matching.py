"""Finding the rule of a request: the most specific one, at a cost that does not grow with the rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policies import matching
from gateway.core.policies.matching import Matcher, Pattern, bind_parameters, parse_pattern

METHODS = ["GET", "HEAD", "POST", "*"]
LITERALS = ["a", "b", "ab"]

segment_lists = st.lists(st.sampled_from([*LITERALS, "{x}"]), max_size=4).map(
    lambda segments: [f"{{x{index}}}" if segment == "{x}" else segment for index, segment in enumerate(segments)]
)
patterns = st.builds(
    lambda methods, segments, ending: parse_pattern(f"{methods} {'/'.join(['', *segments]) or '/'}{ending}"),
    st.sampled_from(METHODS) | st.just("GET,POST"),
    segment_lists.filter(bool),
    st.sampled_from(["", "/**", "/"]),
)
paths = st.builds(
    lambda segments, ends_with_slash: (*segments, "") if ends_with_slash or not segments else tuple(segments),
    st.lists(st.sampled_from([*LITERALS, "c"]), max_size=5),
    st.booleans(),
)


def rank(pattern: Pattern, method: str, segments: tuple[str, ...]) -> list[int] | None:
    """How specific a pattern is for a request, lower is more so; None where it does not match. Plain and slow."""
    fits = len(segments) >= len(pattern.segments) if pattern.matches_below else len(segments) == len(pattern.segments)
    if not fits:
        return None
    ranks = []
    for expected, found in zip(pattern.segments, segments, strict=False):
        is_parameter = expected.startswith("{")
        if (found == "") if is_parameter else (expected != found):
            return None
        ranks.append(int(is_parameter))
    names = [method, "GET", "*"] if method == "HEAD" else [method, "*"]
    found_methods = [index for index, name in enumerate(names) if name in pattern.methods]
    return [*ranks, 2 if pattern.matches_below else -1, min(found_methods)] if found_methods else None


def match_naively(rules: list[Pattern], method: str, segments: tuple[str, ...]) -> Pattern | None:
    """The best of all rules, each tried in turn."""
    ranked = [(found, rule) for rule in rules if (found := rank(rule, method, segments)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


@given(st.lists(patterns, max_size=12), st.sampled_from(["GET", "HEAD", "POST", "PUT"]), paths)
def test_the_tree_finds_what_trying_each_rule_finds(
    rules: list[Pattern], method: str, segments: tuple[str, ...]
) -> None:
    """For any rules and any request the matcher agrees with the plainest implementation there is."""
    matcher: Matcher[Pattern] = Matcher()
    added = [rule for rule in rules if matcher.add(rule, rule) is None]
    assert match_naively(added, method, segments) == matcher.match(method, segments)


@given(st.lists(patterns, max_size=8), st.sampled_from(["GET", "HEAD"]), paths)
def test_the_order_of_the_rules_means_nothing(rules: list[Pattern], method: str, segments: tuple[str, ...]) -> None:
    """Rules in the opposite order lead to the same rule."""
    forwards, backwards = Matcher[Pattern](), Matcher[Pattern]()
    added = [rule for rule in rules if forwards.add(rule, rule) is None]
    for rule in reversed(added):
        assert backwards.add(rule, rule) is None
    assert forwards.match(method, segments) == backwards.match(method, segments)


class CountingDict(dict[str, object]):
    """A dict that counts how often anything is looked up in any of them."""

    lookups = 0

    def get(self, key: str, default: object = None) -> object:
        CountingDict.lookups += 1
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        CountingDict.lookups += 1
        return super().__contains__(key)


class CountingNode(matching._Node[Pattern]):
    """A node whose dicts count."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        for name in ("literals", "here", "below"):
            setattr(self, name, CountingDict())


@pytest.fixture
def counting_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_Node", CountingNode)


def count_lookups(rule_count: int, segments: tuple[str, ...]) -> int:
    matcher: Matcher[Pattern] = Matcher()
    for number in range(rule_count):
        rule = parse_pattern(f"GET /api/v1/kind{number}/{{item}}/export")
        assert matcher.add(rule, rule) is None
    CountingDict.lookups = 0
    matcher.match("GET", segments)
    return CountingDict.lookups


@pytest.mark.usefixtures("counting_nodes")
@pytest.mark.parametrize(
    "segments",
    [("api", "v1", "kind9", "42", "export"), ("api", "v1", "kind9", "42"), ("api", "v1", "other", "42"), ("",)],
)
def test_a_thousand_rules_cost_no_more_than_ten(segments: tuple[str, ...]) -> None:
    """A match makes as many look-ups among 1,000 rules as among 10, and not more than four a segment."""
    assert 0 < count_lookups(10, segments) == count_lookups(1000, segments) <= 4 * (len(segments) + 1)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("GET /", Pattern("GET /", ("GET",), ("",), False)),
        ("* /**", Pattern("* /**", ("*",), (), True)),
        ("GET,POST /a/{b}", Pattern("GET,POST /a/{b}", ("GET", "POST"), ("a", "{b}"), False)),
        ("GET /a/", Pattern("GET /a/", ("GET",), ("a", ""), False)),
        ("M-SEARCH /a/**", Pattern("M-SEARCH /a/**", ("M-SEARCH",), ("a",), True)),
        ("GET /café/a b/#?", Pattern("GET /café/a b/#?", ("GET",), ("café", "a b", "#?"), False)),
    ],
)
def test_a_pattern_is_read(text: str, pattern: Pattern) -> None:
    """A `match` gives its methods and its segments, written as requests have them decoded."""
    assert pattern == parse_pattern(text)


METHOD_EXPECTED = 'is no method: write "GET /path", "GET,POST /path" or "* /path"'
DECODED = "write it decoded, without dot or empty segments"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"'' {METHOD_EXPECTED}"),
        ("/a", f"'/a' {METHOD_EXPECTED}"),
        ("get /a", f"'get' {METHOD_EXPECTED}"),
        ("GET, POST /a", f"'' {METHOD_EXPECTED}"),
        ("*,GET /a", f"'*' {METHOD_EXPECTED}"),
        ("GET", 'the path \'\' must begin with "/": write "GET /path"'),
        ("GET  /a", 'the path \' /a\' must begin with "/": write "GET /path"'),
        ("GET a", 'the path \'a\' must begin with "/": write "GET /path"'),
        ("GET /{a}b", "'{a}b' in '/{a}b': a parameter is a whole segment, such as /{project}/"),
        ("GET /{}", "'{}' in '/{}': a parameter is a whole segment, such as /{project}/"),
        ("GET /{A}", "'{A}' in '/{A}': a parameter is a whole segment, such as /{project}/"),
        ("GET /a}", "'a}' in '/a}': a parameter is a whole segment, such as /{project}/"),
        ("GET /a*", "'a*' in '/a*': only a last /** is a wildcard"),
        ("GET /*", "'*' in '/*': only a last /** is a wildcard"),
        ("GET /**/a", "'**' in '/**/a': only a last /** is a wildcard"),
        ("GET /a%20b", "'a%20b' in '/a%20b': write the segment decoded"),
        ("GET /a//b", f"no request can have the path '/a//b': {DECODED}"),
        ("GET /a//**", f"no request can have the path '/a//**': {DECODED}"),
        ("GET /a/../b", f"no request can have the path '/a/../b': {DECODED}"),
        ("GET /./**", f"no request can have the path '/./**': {DECODED}"),
        ("GET /a\\b", f"no request can have the path '/a\\\\b': {DECODED}"),
        ("GET /a\n", f"no request can have the path '/a\\n': {DECODED}"),
        ("GET /{a}/{a}", "the path '/{a}/{a}' names a parameter twice"),
    ],
)
def test_a_wrong_pattern_is_told(text: str, message: str) -> None:
    """What no request could match, or what two readers could take for two things, is refused with the reason."""
    with pytest.raises(ValueError) as refused:
        parse_pattern(text)
    assert message == str(refused.value)


@given(st.text() | st.text("GET /*{}a.%,"))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    """Any text gives a pattern that a request can match, or a ValueError, nothing else."""
    try:
        pattern = parse_pattern(text)
    except ValueError:
        return
    matcher: Matcher[str] = Matcher()
    matcher.add(pattern, "found")
    method = "GET" if pattern.methods == ("*",) else pattern.methods[0]
    request = tuple("x" if segment.startswith("{") else segment for segment in pattern.segments)
    assert "found" == matcher.match(method, request)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET /a", "GET /a"),
        ("GET /a/{b}", "GET /a/{c}"),
        ("GET,POST /a", "PUT,POST /a"),
        ("* /a/**", "* /a/**"),
    ],
)
def test_two_patterns_for_the_same_requests_are_told(one: str, other: str) -> None:
    """The second of two patterns that match the very same requests is not added; the first is named."""
    matcher: Matcher[str] = Matcher()
    assert None is matcher.add(parse_pattern(one), one)
    assert one == matcher.add(parse_pattern(other), other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("GET /a", "POST /a"), ("GET /a", "* /a"), ("GET /a", "HEAD /a"), ("GET /a", "GET /a/"), ("GET /a", "GET /a/**")],
)
def test_patterns_that_differ_stand_beside_each_other(one: str, other: str) -> None:
    """Patterns of which one is more specific, or which match different requests, are no mistake."""
    matcher: Matcher[str] = Matcher()
    assert None is matcher.add(parse_pattern(one), one)
    assert None is matcher.add(parse_pattern(other), other)


@pytest.mark.parametrize(
    ("method", "segments", "expected"),
    [
        ("GET", ("a", "new"), "GET /a/new"),
        ("GET", ("a", "1"), "GET /a/{id}"),
        ("GET", ("a", ""), "* /**"),
        ("GET", ("a",), "* /**"),
        ("HEAD", ("a", "1"), "GET /a/{id}"),
        ("HEAD", ("a", "new"), "HEAD /a/new"),
        ("POST", ("a", "new"), "* /**"),
        ("GET", ("a", "new", "x"), "* /**"),
        ("PURGE", ("",), "* /**"),
    ],
)
def test_the_most_specific_rule_wins(method: str, segments: tuple[str, ...], expected: str) -> None:
    """A literal goes before a parameter, a parameter before `**`, a method before any, and HEAD falls back to GET."""
    matcher: Matcher[str] = Matcher()
    for text in ("* /**", "GET /a/{id}", "GET /a/new", "HEAD /a/new"):
        matcher.add(parse_pattern(text), text)
    assert expected == matcher.match(method, segments)


def test_a_parameter_is_never_empty() -> None:
    """A path that ends with a slash does not match a parameter there."""
    matcher: Matcher[str] = Matcher()
    matcher.add(parse_pattern("GET /a/{b}"), "found")
    assert matcher.match("GET", ("a", "")) is None


def test_a_literal_cannot_be_mistaken_for_a_parameter() -> None:
    """A request whose segment looks like a parameter matches as the text that it is."""
    matcher: Matcher[str] = Matcher()
    matcher.add(parse_pattern("GET /a/{b}/c"), "found")
    assert "found" == matcher.match("GET", ("a", "{b}", "c"))
    assert None is matcher.match("GET", ("a", "{b}"))


def test_parameters_are_bound_to_what_they_matched() -> None:
    """Each parameter has the decoded segment at its place."""
    pattern = parse_pattern("GET /a/{b}/{c}/**")
    assert {"b": "1", "c": "é"} == bind_parameters(pattern, ("a", "1", "é", "x"))
