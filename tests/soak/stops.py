"""Clean stops at random moments: Ctrl-C, two of them, SIGTERM, `tinyablate stop`."""

from collections import Counter

from reliability.outages import STOPS, stop_run
from reliability.siege import short_sweep
from soaking import Field, soak


def siege(field: Field) -> str:
    """Each run of a sweep of real trainings is stopped; nothing of it is left; the last one finishes."""
    wanted, stopped = field.options, Counter[str]()
    sweep = short_sweep(wanted.cells, epochs=3)
    while stopped.total() < wanted.times:
        with field.place(sweep, wanted.learner) as place:
            while stopped.total() < wanted.times and place.complete() < wanted.cells:
                how = field.rng.choice(STOPS)
                stop_run(place, field.rng, how, 10.0)
                stopped[how] += 1
            field.check(place, sweep, wanted.cells)
    return ", ".join(f"{count} by {how}" for how, count in sorted(stopped.items()))


if __name__ == "__main__":
    soak("clean stops", siege, times=20, cells=32, learner="")
