"""A wall clock that was set back. Dagster evaluates a sensor again when its last tick is long enough ago: after a tick in the future, it waits."""

import time
from collections.abc import Callable

import dagster as dg
from dagster._core.scheduler.instigation import SensorInstigatorData

_JUMP_S = 5.0
"""Smaller steps are time servers at work, and cost a sensor no more than that."""


def sensors_in_the_future(instance: dg.DagsterInstance) -> dict[str, float]:
    """Sensor -> seconds by which its last tick is ahead of the clock."""
    now = time.time()
    ahead = {state.name: _last_tick(state.instigator_data) - now for state in _sensors(instance)}
    return {name: seconds for name, seconds in ahead.items() if seconds > _JUMP_S}


def release_sensors(instance: dg.DagsterInstance) -> list[str]:
    """Let sensors whose last tick lies in the future go on now; their cursors stay. Returns their names."""
    now, released = time.time(), []
    for state in _sensors(instance):
        data = state.instigator_data
        if _last_tick(data) > now + _JUMP_S:
            # What a sensor asks for is made once by its run keys, so one tick more does no harm.
            instance.update_instigator_state(state.with_data(data._replace(last_tick_timestamp=now, last_tick_start_timestamp=now)))
            released.append(state.name)
    return released


def watch_for_jumps(react: Callable[[], None]) -> Callable[[], None]:
    """A function to call now and then: it calls `react` when the wall clock went back against the monotonic one since the last call."""
    before = time.time() - time.monotonic()

    def look() -> None:
        nonlocal before
        now = time.time() - time.monotonic()
        if now < before - _JUMP_S:
            react()
        before = now

    return look


def _sensors(instance: dg.DagsterInstance) -> list:
    return [state for state in instance.all_instigator_state() if isinstance(state.instigator_data, SensorInstigatorData)]


def _last_tick(data: SensorInstigatorData) -> float:
    return max(data.last_tick_timestamp or 0.0, data.last_tick_start_timestamp or 0.0)
