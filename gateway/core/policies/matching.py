"""Find the rule of a request in a tree of path segments, so that a thousand rules cost no more than ten.

    match   = methods SP path
    methods = "*" / method *("," method)          ; GET includes HEAD (RFC 9110 9.3.2)
    path    = 1*("/" segment) ["/**"]             ; "/**": this path and everything below it
    segment = literal / "{" name "}"

The most specific rule wins, segment by segment: a literal before a parameter before `**`. The order in the file has no
meaning; two rules that match exactly the same requests are a mistake.
"""

import re
from collections.abc import Iterator
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from gateway.core.http.targets import parse_path

ANY_METHOD = "*"
METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)\}")

Target = TypeVar("Target")


class Pattern(msgspec.Struct, frozen=True):
    """A parsed `match`. A parameter is stored as its name in braces, which no literal can be."""

    text: str
    methods: tuple[str, ...]
    segments: tuple[str, ...]
    matches_below: bool
    """Whether the pattern ends with `**`."""

    @property
    def path(self) -> str:
        """The path alone, as it was written."""
        return self.text.partition(" ")[2]


def parse_pattern(text: str) -> Pattern:
    """Parse a pattern. Raise ValueError that says what is wrong with it."""
    methods, _, path = text.partition(" ")
    names = tuple(methods.split(","))
    if names != (ANY_METHOD,):
        for name in names:
            if METHOD.fullmatch(name) is None:
                raise ValueError(f'{name!r} is no method: write "GET /path", "GET,POST /path" or "* /path"')
    if not path.startswith("/"):
        raise ValueError(f'the path {path!r} must begin with "/": write "GET /path"')
    *head, last = path[1:].split("/")
    segments = head if last == "**" else [*head, last]
    for segment in segments:
        _check_segment(segment, path)
    encoded = ["x" if is_parameter(segment) else quote(segment, safe="") for segment in segments]
    if parse_path("/" + "/".join([*encoded, "x"] if last == "**" else encoded)) is None:
        raise ValueError(f"no request can have the path {path!r}: write it decoded, without dot or empty segments")
    parameters = [segment for segment in segments if is_parameter(segment)]
    if len(set(parameters)) < len(parameters):
        raise ValueError(f"the path {path!r} names a parameter twice")
    return Pattern(text, names, tuple(segments), matches_below=last == "**")


def bind_parameters(pattern: Pattern, segments: tuple[str, ...]) -> dict[str, str]:
    """Return the values of a pattern's parameters in the segments that it matched."""
    return {name[1:-1]: value for name, value in zip(pattern.segments, segments, strict=False) if is_parameter(name)}


class _Node(Generic[Target]):
    __slots__ = ("below", "here", "literals", "parameter")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[Target]] = {}
        self.parameter: _Node[Target] | None = None
        self.here: dict[str, Target] = {}
        self.below: dict[str, Target] = {}


class Matcher(Generic[Target]):
    """Patterns and their targets. Matching visits each node of the tree at most once."""

    def __init__(self) -> None:
        self._root: _Node[Target] = _Node()

    def add(self, pattern: Pattern, target: Target) -> Target | None:
        """Add the pattern. If a target has the same requests already, add nothing and return that target."""
        node = self._root
        for segment in pattern.segments:
            if is_parameter(segment):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        targets = node.below if pattern.matches_below else node.here
        for method in pattern.methods:
            if method in targets:
                return targets[method]
        targets.update(dict.fromkeys(pattern.methods, target))
        return None

    def match(self, method: str, segments: tuple[str, ...]) -> Target | None:
        """Return the target of the most specific pattern that matches, or None."""
        return next(self._matches(self._root, method, segments, 0), None)

    def __iter__(self) -> Iterator[Target]:
        """Yield the targets of all patterns, each once."""
        pending, seen = [self._root], list[Target]()
        while pending:
            node = pending.pop()
            seen += [*node.here.values(), *node.below.values()]
            pending += [*node.literals.values(), *([node.parameter] if node.parameter else [])]
        yield from {id(target): target for target in seen}.values()

    def _matches(self, node: _Node[Target], method: str, segments: tuple[str, ...], depth: int) -> Iterator[Target]:
        if depth == len(segments):
            yield from _for_method(node.here, method)
        else:
            literal = node.literals.get(segments[depth])
            if literal is not None:
                yield from self._matches(literal, method, segments, depth + 1)
            if node.parameter is not None and segments[depth]:
                yield from self._matches(node.parameter, method, segments, depth + 1)
        yield from _for_method(node.below, method)


def _for_method(targets: dict[str, Target], method: str) -> Iterator[Target]:
    for name in (method, "GET", ANY_METHOD) if method == "HEAD" else (method, ANY_METHOD):
        if name in targets:
            yield targets[name]


def is_parameter(segment: str) -> bool:
    """Return whether a segment of a pattern stands for any one segment of a path."""
    return segment.startswith("{")


def _check_segment(segment: str, path: str) -> None:
    if _PARAMETER.fullmatch(segment):
        return
    if "{" in segment or "}" in segment:
        raise ValueError(f"{segment!r} in {path!r}: a parameter is a whole segment, such as /{{project}}/")
    if "*" in segment:
        raise ValueError(f"{segment!r} in {path!r}: only a last /** is a wildcard")
    if "%" in segment:
        raise ValueError(f"{segment!r} in {path!r}: write the segment decoded")
