"""The Lua scripts as they are sent to Redis, and what is common to their answers."""

from collections.abc import Sequence
from importlib.resources import files

from gateway.adapters import names
from gateway.adapters.redis_connection import Script
from gateway.core.quotas import Quota, Window


def read_script(*parts: str) -> Script:
    """One script of the files `parts` of scripts/, behind the names and positions that they use."""
    folder = files("gateway.adapters.scripts")
    return Script(names.lua_prelude() + "".join(folder.joinpath(part).read_text() for part in parts))


def read_windows(quotas: Sequence[Quota], states: Sequence[int]) -> tuple[Window, ...]:
    """The windows of `quotas` from what scripts/quotas.lua appends to a reply; none where it appended nothing."""
    if not states:
        return ()
    waits: Sequence[int | None] = states[2 * len(quotas) :] or [None] * len(quotas)
    return tuple(
        [Window(quota, states[2 * index], states[2 * index + 1], waits[index]) for index, quota in enumerate(quotas)]
    )
