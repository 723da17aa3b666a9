"""Random workers killed or told to end, each with p = 0.03 per time slice."""

from reliability.outages import kill_workers
from reliability.siege import short_sweep
from soaking import SLOW, Field, soak


def siege(field: Field) -> str:
    """One run of trials of 4 s; every `every` seconds (a slice's length) each worker may die."""
    wanted = field.options
    sweep = short_sweep(wanted.cells, epochs=20)
    with field.place(sweep, wanted.learner) as place:
        sent = kill_workers(place, field.rng, wanted.probability, wanted.every)
        kept = field.check(place, sweep, wanted.cells)
    return f"{dict(sent)} to workers, p = {wanted.probability} every {wanted.every:g} s; {kept.attempts} attempts"


if __name__ == "__main__":
    soak("workers killed", siege, cells=240, probability=0.03, every=2.0, learner=SLOW)
