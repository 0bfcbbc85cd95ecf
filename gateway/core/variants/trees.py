"""Keys with dots as a tree of groups."""

from collections.abc import Iterable, Sequence

from gateway.core.errors import BrokenDocument

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
