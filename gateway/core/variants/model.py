"""What is asked for: one variant of a document, and how the backend writes that document. Values, for cache keys and
for another process.

Keys with dots as a tree of groups.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import msgspec

from gateway.core.errors import BrokenDocument

DocumentKind: TypeAlias = Literal["translations", "design-tokens"]
Setting: TypeAlias = Literal["format", "shape", "pretty", "bom", "key", "lang", "status", "mode"]
"""What an option of a request can choose, whatever the option is called."""
SETTINGS: tuple[Setting, ...] = get_args(Setting)

RENDERING = "2"
"""Part of cache keys. Another one whenever a document may give other bytes than before: then nothing that an older
gateway made is given out as ours. A test knows when that is; a new format is no reason."""

LISTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
"""What can be an element of a list of languages or statuses: nothing in it is a comma or needs escaping."""
NAMED = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
"""What can be a mode, as designers call them: `High contrast`, `Dark/AA`."""
SPELLINGS: Mapping[Setting, re.Pattern[str]] = {"lang": LISTED, "status": LISTED, "mode": NAMED}
"""Of settings whose values documents and policies choose."""


class Variant(msgspec.Struct, frozen=True, array_like=True):
    """One variant of a document. Requests that mean the same have equal variants: see options.py."""

    format: str = "json"
    shape: str = "nested"
    """`nested`: the dots in keys make groups; `flat`: they do not."""
    pretty: bool = False
    key: str = "named"
    """`named`: entries go by their key, and by their id where they have none; `id`: by their id."""
    lang: tuple[str, ...] | None = None
    """The languages that are wanted, sorted; None: all that the document has."""
    status: tuple[str, ...] | None = None
    """Of translations only the entries with one of these statuses, sorted; None: all entries."""
    mode: str | None = None
    """The mode of design tokens; None: the document's first, or none where it lists no modes."""
    bom: bool = False
    """Whether a byte order mark goes before CSV: Excel takes it for text of another encoding otherwise."""

    @property
    def identity(self) -> str:
        """A text that is the same for equal variants and no others, for cache keys."""
        return _encoder.encode(self).decode()


class DocumentForm(msgspec.Struct, frozen=True, array_like=True, cache_hash=True):
    """How a backend writes its document, compiled from the policy."""

    kind: DocumentKind
    names: tuple[tuple[str, str], ...] = ()
    """Our name of a field to the backend's, which may be a way through objects: `data.nodes`."""
    types: tuple[tuple[str, str], ...] = ()
    """The backend's names of types of design tokens to those of the Community Group's format."""
    asked: tuple[tuple[Setting, str, bool], ...] = ()
    """Settings whose values only the document knows: the option that chooses each, and whether it is in the path."""

    @property
    def identity(self) -> str:
        """A text that is the same for equal forms and no others, for cache keys."""
        return _encoder.encode(self).decode()


class Rendered(msgspec.Struct, frozen=True, tag="rendered"):
    """A variant's content, and the weak entity tag that is made from it."""

    content: bytes
    tag: bytes


class OptionMistake(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with one option. What a client sent as its value is never repeated: it might be a secret."""

    option: str | None
    """Its name; None where the request has a name that no option could have."""
    message: str
    allowed: tuple[str, ...]
    """The values that it may have; the options that there are, where it is none of them."""


class InvalidOptions(msgspec.Struct, frozen=True, tag="invalid"):
    """The request asks for a variant that is not offered: all that is wrong with it."""

    mistakes: tuple[OptionMistake, ...]
    in_path: bool = False
    """Whether a parameter of the path is at fault: then there is nothing at this path."""

    @property
    def detail(self) -> str:
        """All mistakes in sentences."""
        return " ".join(mistake.message for mistake in self.mistakes)


Report: TypeAlias = Callable[[BrokenDocument], None]
"""What is told of each mistake in a document: an export ends with the first one, a check goes on."""


def raise_broken(broken: BrokenDocument) -> None:
    """End with the first mistake."""
    raise broken


def refuse_unknown(
    form: DocumentForm, setting: Setting, wanted: tuple[str, ...], known: Iterable[str]
) -> InvalidOptions | None:
    """The mistake of wanting what the document does not have, where it is the document that says what there is."""
    for asked, option, in_path in form.asked:
        there = tuple(known)
        if asked == setting and not set(wanted).issubset(there):
            allowed = tuple(value for value in there if not (in_path and "/" in value))
            message = f"The option {option} must be one of {', '.join(allowed)}."
            if len(allowed) < len(there):
                others = ", ".join(value for value in there if value not in allowed)
                message += f" The document also has {others}: a path cannot have a slash in a value, a query can."
            return InvalidOptions((OptionMistake(option, message, allowed),), in_path)
    return None


_encoder = msgspec.json.Encoder()


MAXIMUM_SEGMENTS = 32
"""Groups in groups. Ten would be much; renderers call themselves for each."""


class Group:
    """What is under one name: entries (name to their position in the keys) and groups, both in the keys' order.

    A name may be both. Who can write down only one of them calls `collide`.
    """

    __slots__ = ("entries", "groups")

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.groups: dict[str, Group] = {}


def build_tree(keys: Sequence[str]) -> Group:
    """The tree of all `keys`, which differ; raises BrokenDocument where one is too deep."""
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
    """The mistake where `name` in the group is an entry and a group: it names the entry and one in the group."""
    inner = group.groups[name]
    while not inner.entries:
        inner = next(iter(inner.groups.values()))
    key, inside = keys[group.entries[name]], keys[next(iter(inner.entries.values()))]
    return BrokenDocument("$", f"the key {key!r} is also the group of {inside!r}: rename one, or ask for shape=flat")


def find_repeated(names: Iterable[tuple[str, str]]) -> tuple[str, str, str] | None:
    """Of (name, whose name it is): the first name that two have, and both of them; None where all differ."""
    owners: dict[str, str] = {}
    for name, owner in names:
        if name in owners:
            return name, owners[name], owner
        owners[name] = owner
    return None
