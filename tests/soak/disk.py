"""The disk full at random moments of checkpoints and commits, then room again.

Needs the right to mount a tmpfs.
"""

from reliability.outages import fill_disk, small_disk
from reliability.siege import short_sweep
from soaking import SLOW, Field, soak


def siege(field: Field) -> str:
    """In turns: analytic trials, whose commits find no room, and trainings, whose checkpoints do not."""
    wanted, stopped = field.options, 0
    for number in range(wanted.times):
        sweep = short_sweep(wanted.cells)
        options = ["--launcher", "inline"] if number % 4 < 2 else []
        with field.place(sweep, SLOW if number % 2 else "") as place, small_disk(place.file.parent, 60):
            told = fill_disk(place, *options, after=field.rng.uniform(0, 4))
            stopped += "no room" in told
            place.acknowledge()
            field.check(place, sweep, wanted.cells)
    return f"{wanted.times} disks filled, {stopped} runs stopped by it"


if __name__ == "__main__":
    soak("disk full", siege, times=12, cells=8)
