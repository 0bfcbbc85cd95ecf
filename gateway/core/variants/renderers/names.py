"""Names in source code: what a key becomes where it has to be an identifier.

Two keys may become one identifier: `refuse_same` tells of both, rather than losing one.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import NameStyle, find_repeated


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


JAVA_WORDS = _words(
    "abstract assert boolean break byte case catch char class const continue default do double else enum extends false "
    "final finally float for goto if implements import instanceof int interface long native new null package private "
    "protected public return short static strictfp super switch synchronized this throw throws transient true try void "
    "volatile while _"
)
"""Keywords and literals of Java (JLS 3.9, 3.10): Android makes a field of R.java of each name."""
DART_WORDS = _words(
    "assert async await break case catch class const continue default do else enum extends false final finally for if "
    "in is new null rethrow return super switch this throw true try var void while with yield"
)
"""Reserved words of Dart (language specification, 17.1): Flutter makes a method of each name."""
SWIFT_WORDS = _words(
    "Any Protocol Self Type as associatedtype break case catch class continue default defer deinit do else enum "
    "extension fallthrough false fileprivate for func guard if import in init inout internal is let nil open operator "
    "precedencegroup private protocol public repeat rethrows return self static struct subscript super switch throw "
    "throws true try typealias var where while"
)
"""Keywords of declarations, statements and expressions of Swift (The Swift Programming Language, Lexical Structure)."""
KOTLIN_WORDS = _words(
    "as break class continue do else false for fun if in interface is null object package return super this throw true "
    "try typealias typeof val var when while"
)
"""Hard keywords of Kotlin (language specification, 1.2)."""

_WORD = re.compile(r"[^\W_]+")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")


def snake_case(key: str, words: frozenset[str]) -> str:
    """Write `home.hero-title` as `home_hero_title`; a word of the language gets an underscore at its end."""
    name = re.sub(r"\W", "_", key)
    name = f"_{name}" if not name or name[0].isdecimal() else name
    return f"{name}_" if name in words else name


def camel_case(key: str, words: frozenset[str] = frozenset(), *, is_ascii: bool = False) -> str:
    """Write `home.hero-title` as `homeHeroTitle`; return an empty text if the key has no letter or digit."""
    parts = (_ASCII_WORD if is_ascii else _WORD).findall(key)
    if not parts:
        return ""
    name = parts[0][0].lower() + parts[0][1:] + "".join(part[0].upper() + part[1:] for part in parts[1:])
    name = f"n{name}" if not name[0].isalpha() else name
    return f"{name}_" if name in words else name


_HUMP = re.compile(r"(?<=[^\W\dA-Z_])(?=[A-Z])")


def pascal_case(key: str) -> str:
    """Write `home.hero-title` as `HomeHeroTitle`; return an empty text if the key has no letter or digit."""
    name = camel_case(key)
    return name[:1].upper() + name[1:]


def lower_snake_case(key: str) -> str:
    """Write `home.heroTitle` as `home_hero_title`; return an empty text if the key has no letter or digit."""
    name = "_".join(_WORD.findall(_HUMP.sub("_", key))).lower()
    return f"n{name}" if name and not name[0].isalpha() else name


STYLES: Mapping[NameStyle, Callable[[str], str]] = {
    "camel": camel_case,
    "pascal": pascal_case,
    "snake": lower_snake_case,
}
"""How each style writes the name of a constant."""


def refuse_same(names: Iterable[tuple[str, str]], where: str) -> None:
    """Raise BrokenDocument if, of (name, key), two names are one, or one is empty; `where` is the name of a format."""
    listed = list(names)
    for name, key in listed:
        if not name:
            raise BrokenDocument("$", f"the key {key!r} has no letter or digit that a name in {where} can have")
    repeated = find_repeated(listed)
    if repeated:
        name, first, other = repeated
        raise BrokenDocument("$", f"the keys {first!r} and {other!r} both become {name!r} in {where}")
