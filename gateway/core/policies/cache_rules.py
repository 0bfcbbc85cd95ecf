"""Turns the `cache` table of a rule into what requests meet, and finds its mistakes."""

from collections.abc import Iterator

from gateway.core.caching.keys import PARAMETER
from gateway.core.durations import parse_duration
from gateway.core.policies.document import CacheTable
from gateway.core.policies.drafts import why_unbound
from gateway.core.policies.grammar import Binding
from gateway.core.policies.matching import Pattern, bind_parameters
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.rules import CacheRule, Entitlement


def compile_cache(table: CacheTable, bound_to: Binding, *, is_public: bool) -> CacheRule:
    """The rule's cache. Whoever says how long answers are kept, or who shares them, has said that they are shared.

    Tokens that are bound to nothing share with nobody, where the rule does not say it.
    """
    by_default: Entitlement = "token" if bound_to == "none" else bound_to
    stated = (table.fresh, table.stale_while_revalidate, table.stale_if_error, table.keep, table.heuristic)
    return CacheRule(
        fresh_seconds=_seconds(table.fresh),
        shared_by=table.shared_by or ("public" if is_public else by_default),
        stale_if_error_seconds=_seconds(table.stale_if_error),
        stale_while_revalidate_seconds=_seconds(table.stale_while_revalidate),
        keep_seconds=_seconds(table.keep),
        heuristic_seconds=_seconds(table.heuristic) or 0,
        groups=tuple(table.groups),
        passes_cache_control=table.client_cache_control == "backend",
        may_share=table.shared_by is not None or any(duration is not None for duration in stated),
    )


def cache_mistakes(
    table: CacheTable, pattern: Pattern, bound_to: Binding, *, is_public: bool, path: str
) -> Iterator[Mistake]:
    """What cannot stand in a `cache` table at `path`."""
    if is_public and table.shared_by not in (None, "public"):
        message = f"the requests of a public rule come without a token and have no {table.shared_by}"
        yield Mistake(f"{path}.shared_by", message)
    elif table.shared_by not in (None, "public", "token", bound_to):
        yield Mistake(f"{path}.shared_by", why_unbound(bound_to, table.shared_by))
    if table.fresh is not None and table.heuristic is not None:
        yield Mistake(f"{path}.heuristic", "with fresh given there is nothing to guess: drop one of them")
    known = bind_parameters(pattern, pattern.segments)
    for index, group in enumerate(table.groups):
        place = path_to(f"{path}.groups", index)
        for name in PARAMETER.findall(group):
            if name not in known:
                yield Mistake(place, unknown_name("parameter", name, known))
        if set("{}") & set(PARAMETER.sub("", group)):
            yield Mistake(place, f"{group!r}: braces are for a parameter of the path, such as tokenset-{{tokenset}}")


def _seconds(duration: str | None) -> int | None:
    return None if duration is None else parse_duration(duration)
