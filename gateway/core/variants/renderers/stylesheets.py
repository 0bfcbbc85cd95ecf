"""Design tokens as CSS custom properties or SCSS variables: dots become hyphens, `--color-text-link`.

Whatever a token is called its name is an identifier: what may not stand in one is escaped (CSSOM, serialize an
identifier). Two tokens whose names become the same are told, rather than one of them lost.
"""

import re
from collections.abc import Iterator

from gateway.core.errors import BrokenDocument
from gateway.core.variants.design_tokens import ROOT, ResolvedToken
from gateway.core.variants.renderers.css_values import write_parts
from gateway.core.variants.trees import find_repeated
from gateway.core.variants.variant import Variant

_BATCH = 500
_KEBAB = re.compile("[A-Z]")
_NO_IDENTIFIER = re.compile(r"[\x01-\x2c./:-@\[-^`{-\x7f]")
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")
_DIGIT_FIRST = re.compile(r"^(-?)([0-9])")


def render_css(tokens: tuple[ResolvedToken, ...], _: Variant) -> Iterator[bytes]:
    """A rule for the root element."""
    yield b":root {\n"
    names = _name_all(tokens)
    _refuse_repeated((name, token) for name, token, _ in names)
    yield from _batches(f"  --{name}: {value};\n" for name, _, value in names)
    yield b"}\n"


def render_scss(tokens: tuple[ResolvedToken, ...], _: Variant) -> Iterator[bytes]:
    """Variables. Sass takes hyphens and underscores in names for the same."""
    names = _name_all(tokens)
    _refuse_repeated((name.replace("_", "-"), token) for name, token, _ in names)
    yield from _batches(f"${_escape_first(name)}: {value};\n" for name, _, value in names)


def write_identifier(text: str) -> str:
    """The text as the rest of an identifier. CSS cannot have NUL: it is the replacement character."""
    return _NO_IDENTIFIER.sub(_escape, text.replace("\0", "\ufffd"))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{ord(character):x} " if _CONTROL.match(character) else f"\\{character}"


def _escape_first(name: str) -> str:
    """An identifier of its own cannot begin with a digit."""
    return _DIGIT_FIRST.sub(lambda match: f"{match[1]}\\{ord(match[2]):x} ", name)


def _name_all(tokens: tuple[ResolvedToken, ...]) -> list[tuple[str, str, str | int | float]]:
    """For each property its name, the token it is of, and its value."""
    named = []
    for token in tokens:
        segments = token.name.removesuffix(f".{ROOT}").split(".")
        for part, value in write_parts(token):
            kebab = (_KEBAB.sub(lambda capital: f"-{capital[0].lower()}", name) for name in part)
            named.append((write_identifier("-".join((*segments, *kebab))), token.name, value))
    return named


def _refuse_repeated(names: Iterator[tuple[str, str]]) -> None:
    repeated = find_repeated(names)
    if repeated:
        name, first, other = repeated
        raise BrokenDocument("$", f"the tokens {first!r} and {other!r} both become {name!r}")


def _batches(lines: Iterator[str]) -> Iterator[bytes]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH:
            yield "".join(batch).encode()
            batch.clear()
    yield "".join(batch).encode()
