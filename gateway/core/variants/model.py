"""The variant of a document that is asked for, and how the backend writes that document.

Both are values, for cache keys and for another process. Keys with dots become a tree of groups.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import msgspec

from gateway.core.errors import BrokenDocument

DocumentKind: TypeAlias = Literal["translations", "design-tokens"]
Setting: TypeAlias = Literal["format", "shape", "pretty", "bom", "key", "lang", "status", "mode"]
"""The settings that options of a request can choose, whatever names the options have."""
NameStyle: TypeAlias = Literal["camel", "pascal", "snake"]
"""`textLink`, `TextLink` or `text_link`."""
SETTINGS: tuple[Setting, ...] = get_args(Setting)

RENDERING = "2"
"""The version of the renderers, part of cache keys.

It changes whenever a document may give other bytes than before: then nothing that an older gateway made is sent as
ours. A test knows when that is; a new format is no reason.
"""

LISTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
"""An element of a list of languages or statuses: nothing in it is a comma or needs escaping."""
NAMED = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
"""A mode, as designers name them: `High contrast`, `Dark/AA`."""
SPELLINGS: Mapping[Setting, re.Pattern[str]] = {"lang": LISTED, "status": LISTED, "mode": NAMED}
"""The formats of settings whose values documents and policies choose."""


class Variant(msgspec.Struct, frozen=True, array_like=True):
    """One variant of a document. Equivalent requests have equal variants: see options.py."""

    format: str = "json"
    shape: str = "nested"
    """`nested`: the dots in keys make groups; `flat`: they do not."""
    pretty: bool = False
    key: str = "named"
    """`named`: entries are exported under their key, or their id if they have none; `id`: under their id."""
    lang: tuple[str, ...] | None = None
    """The wanted languages, sorted; None for all that the document has."""
    status: tuple[str, ...] | None = None
    """For translations, only the entries with one of these statuses, sorted; None for all entries."""
    mode: str | None = None
    """The mode of design tokens; None for the document's first, or none if it lists no modes."""
    bom: bool = False
    """Whether a byte order mark precedes CSV: otherwise Excel assumes another encoding."""

    @property
    def identity(self) -> str:
        """A text for cache keys that is equal for equal variants only."""
        return _encoder.encode(self).decode()


class CodeNames(msgspec.Struct, frozen=True, array_like=True, cache_hash=True):
    """The names in design tokens that are source code."""

    constants: NameStyle = "camel"
    type: str = "Tokens"
    """The enumeration in Swift, the object in Kotlin."""
    package: str = "tokens"
    """For Kotlin; Swift has modules, which no file names."""


class DocumentForm(msgspec.Struct, frozen=True, array_like=True, cache_hash=True):
    """How a backend writes its document, compiled from the policy."""

    kind: DocumentKind
    names: tuple[tuple[str, str], ...] = ()
    """Our name of a field to the backend's, which may be a path through objects: `data.nodes`."""
    types: tuple[tuple[str, str], ...] = ()
    """The backend's names of types of design tokens to those of the Community Group's format."""
    asked: tuple[tuple[Setting, str, bool], ...] = ()
    """Settings whose values only the document knows: the option that chooses each, and whether it is in the path."""
    code: CodeNames = CodeNames()

    @property
    def identity(self) -> str:
        """A text for cache keys that is equal for equal forms only."""
        return _encoder.encode(self).decode()


class Rendered(msgspec.Struct, frozen=True, tag="rendered"):
    """A variant's content, and the weak entity tag that is made from it."""

    content: bytes
    tag: bytes


class OptionMistake(msgspec.Struct, frozen=True, omit_defaults=True):
    """A mistake in one option. The value that a client sent is never repeated: it might be a secret."""

    option: str | None
    """Its name; None if the request has a name that no option could have."""
    message: str
    allowed: tuple[str, ...]
    """The values that it may have, or the existing options if it is unknown."""


class InvalidOptions(msgspec.Struct, frozen=True, tag="invalid"):
    """The request asks for a variant that is not offered: all its mistakes."""

    mistakes: tuple[OptionMistake, ...]
    in_path: bool = False
    """Whether a parameter of the path is wrong: then there is nothing at this path."""

    @property
    def detail(self) -> str:
        """All mistakes in sentences."""
        return " ".join(mistake.message for mistake in self.mistakes)


Report: TypeAlias = Callable[[BrokenDocument], None]
"""Is called with each mistake in a document: an export ends with the first one, a check continues."""


def raise_broken(broken: BrokenDocument) -> None:
    """Raise the mistake, so that the first one ends the export."""
    raise broken


def refuse_unknown(
    form: DocumentForm, setting: Setting, values: tuple[str, ...], known: Iterable[str]
) -> InvalidOptions | None:
    """Return the mistake of asking for what the document does not have, if only the document knows; else None."""
    for asked, option, in_path in form.asked:
        there = tuple(known)
        if asked == setting and not set(values).issubset(there):
            allowed = tuple(value for value in there if not (in_path and "/" in value))
            message = f"The option {option} must be one of {', '.join(allowed)}."
            if len(allowed) < len(there):
                others = ", ".join(value for value in there if value not in allowed)
                message += f" The document also has {others}: a path cannot have a slash in a value, a query can."
            return InvalidOptions((OptionMistake(option, message, allowed),), in_path)
    return None


_encoder = msgspec.json.Encoder()


MAXIMUM_SEGMENTS = 32
"""Levels of nested groups. Ten would be much; renderers recurse for each."""


class Group:
    """The content of one name: entries (name to their position in the keys) and groups, both in the keys' order.

    A name may be both. A renderer that can write only one of them calls `collide`.
    """

    __slots__ = ("entries", "groups")

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.groups: dict[str, Group] = {}


def build_tree(keys: Sequence[str]) -> Group:
    """Build the tree of all `keys`, which differ. Raise BrokenDocument if one is too deep."""
    root = Group()
    for position, key in enumerate(keys):
        *way, last = key.split(".")
        if len(way) >= MAXIMUM_SEGMENTS:
            raise BrokenDocument("$", f"the key {key!r} has more than {MAXIMUM_SEGMENTS} segments: ask for shape=flat")
        group = root
        for name in way:
            inner = group.groups.get(name)
            if inner is None:
                inner = group.groups[name] = Group()
            group = inner
        group.entries[last] = position
    return root


def collide(keys: Sequence[str], group: Group, name: str) -> BrokenDocument:
    """Return the mistake if `name` in the group is an entry and a group: it names the entry and one in the group."""
    inner = group.groups[name]
    while not inner.entries:
        inner = next(iter(inner.groups.values()))
    key, inside = keys[group.entries[name]], keys[next(iter(inner.entries.values()))]
    return BrokenDocument("$", f"the key {key!r} is also the group of {inside!r}: rename one, or ask for shape=flat")


def find_repeated(names: Iterable[tuple[str, str]]) -> tuple[str, str, str] | None:
    """Return the first name that two share and both of its owners, from (name, owner) pairs, or None."""
    owners: dict[str, str] = {}
    for name, owner in names:
        if name in owners:
            return name, owners[name], owner
        owners[name] = owner
    return None
