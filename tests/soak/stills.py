"""Drivers and workers that stand still for longer than a lease lasts."""

from reliability.outages import stop_driver, stop_worker
from reliability.siege import short_sweep
from soaking import SLOW, Field, soak


def siege(field: Field) -> str:
    """In turns: a whole run stands still on SQLite and on PostgreSQL, while another takes over; a worker does."""
    wanted = field.options
    sweep = short_sweep(wanted.cells)
    for number in range(wanted.times):
        with field.place(sweep, SLOW, ("sqlite", "postgresql")[number % 2]) as place:
            stop_driver(place, "--slots", "1")
            assert field.check(place, sweep, wanted.cells).superseded
        with field.place(sweep, SLOW, ("sqlite", "postgresql")[number % 2]) as place:
            stop_worker(place, field.rng.uniform(3, 8))
            assert field.check(place, sweep, wanted.cells).attempts == wanted.cells
    return f"{wanted.times} runs and {wanted.times} workers stopped (SIGSTOP) beyond a lease of 2 s, and continued"


if __name__ == "__main__":
    soak("false deaths", siege, times=10, cells=8)
