"""The charging of a request's quotas: the reference model of adapters/scripts/charging.lua, for simulation.

`charge` and `refund` return what the scripts return for the same quotas, states, cost and time, unless another
algorithm has counted for the same limit; a property test holds them equal. The caller must know whose states they are:
`partitions.holder_of` says who shares them.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.quotas.algorithms import FixedWindow, Leases, State, new_state
from gateway.core.quotas.model import Quota, Window


class Charge(msgspec.Struct, frozen=True):
    """The result of charging a request."""

    is_charged: bool
    windows: tuple[Window, ...]
    states: tuple[State | None, ...]


def charge(quotas: Sequence[Quota], states: Sequence[State | None], cost: int, now: int, lease: str = "") -> Charge:
    """Charge all quotas or none; those in shadow are charged if they have room.

    `states` are those of the charge before, None at first, in the order of `quotas`; `lease` names the request.
    """
    advanced = [
        (new_state(q.algorithm) if s is None else s).advance(q, now) for q, s in zip(quotas, states, strict=True)
    ]
    fits = [s.units(q, now) + q.units_of(cost) <= q.capacity for q, s in zip(quotas, advanced, strict=True)]
    is_charged = all(fit or quota.is_shadow for quota, fit in zip(quotas, fits, strict=True))
    changed, windows = list(states), []
    for index, (quota, state, fit) in enumerate(zip(quotas, advanced, fits, strict=True)):
        taken = _take(quota, state, cost, now, lease) if is_charged and fit else None
        if taken is not None:
            changed[index] = taken
        refused_units = None if is_charged and fit else quota.units_of(cost)
        windows.append(_window(quota, taken or state, refused_units, now))
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
