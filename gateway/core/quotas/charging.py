"""The charging of a request's quotas: the reference model of adapters/scripts/charging.lua, for simulation.

`charge` and `refund` return what the scripts return for the same quotas, states, cost and time, unless another
algorithm has counted for the same limit; a property test holds them equal. The caller must know whose states they are:
`partitions.holder_of` says who shares them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gateway.core.quotas.algorithms import FixedWindow, Leases, State, new_state
from gateway.core.quotas.model import Quota, Window


class Charge(msgspec.Struct, frozen=True):
    """The result of charging a request."""

    is_charged: bool
    windows: tuple[Window, ...]
    states: tuple[State | None, ...]


class Taken(NamedTuple):
    """What a request found, and what it took."""

    is_charged: bool
    advanced: list[State]
    """The states at its moment, before it took anything."""
    fits: list[bool]
    """Whether each quota has room for it."""
    taken: list[State | None]
    """The states with the request in them; None where it took nothing."""


def take(quotas: Sequence[Quota], states: Sequence[State | None], cost: int, now: int, lease: str = "") -> Taken:
    """Charge all quotas or none; those in shadow are charged if they have room.

    `states` are those of the charge before, None at first, in the order of `quotas`; `lease` names the request.
    """
    is_charged, advanced, fits = True, list[State](), list[bool]()
    for quota, before in zip(quotas, states, strict=True):
        state = (new_state(quota.algorithm) if before is None else before).advance(quota, now)
        fit = state.units(quota, now) + quota.units_of(cost) <= quota.capacity
        is_charged = is_charged and (fit or quota.is_shadow)
        advanced.append(state)
        fits.append(fit)
    taken = [
        _take(quota, state, cost, now, lease) if is_charged and fit else None
        for quota, state, fit in zip(quotas, advanced, fits, strict=True)
    ]
    return Taken(is_charged, advanced, fits, taken)


def charge(quotas: Sequence[Quota], states: Sequence[State | None], cost: int, now: int, lease: str = "") -> Charge:
    """Charge as `take` does, and say what an answer says of each quota."""
    is_charged, advanced, fits, taken = take(quotas, states, cost, now, lease)
    windows = [
        _window(quota, after or before, None if is_charged and fit else quota.units_of(cost), now)
        for quota, before, fit, after in zip(quotas, advanced, fits, taken, strict=True)
    ]
    changed = [before if after is None else after for before, after in zip(states, taken, strict=True)]
    return Charge(is_charged, tuple(windows), tuple(changed))


def refund(
    quotas: Sequence[Quota], states: Sequence[State | None], units: int, charged_at: int, now: int
) -> tuple[State | None, ...]:
    """Return the states without `units` of what was charged at `charged_at`, as far as these still count."""
    return tuple(
        state and (state.refund(quota, units, charged_at, now) or state)
        for quota, state in zip(quotas, states, strict=True)
    )


def release(states: Sequence[State | None], lease: str) -> tuple[State | None, ...]:
    """Return the states after the request of this lease has ended."""
    return tuple(state.release(lease) if isinstance(state, Leases) else state for state in states)


def _take(quota: Quota, state: State, cost: int, now: int, lease: str) -> State | None:
    """Return the state with the request in it, or None if it takes nothing."""
    if isinstance(state, Leases):
        return state.take(quota, 1, now, lease) if lease else None
    return state.take(quota, cost, now) if cost > 0 else None


def _window(quota: Quota, state: State, refused_units: int | None, now: int) -> Window:
    used = state.units(quota, now)
    if isinstance(state, FixedWindow):
        resets_at = state.resets_at
    else:
        resets_at = now if used == 0 else _fits_at(quota, state, max(0, quota.capacity - used) + 1, now)
    return Window(quota, used, resets_at, None if refused_units is None else _fits_at(quota, state, refused_units, now))


def _fits_at(quota: Quota, state: State, cost: int, now: int) -> int:
    if state.units(quota, now) + cost <= quota.capacity:
        return now
    return now + quota.window if cost > quota.capacity else state.fits_at(quota, cost)
