"""Two drivers started within the same second, on both back ends."""

from reliability.outages import race
from reliability.siege import short_sweep
from soaking import NOOP, SLOW, Field, soak


def siege(field: Field) -> str:
    """Inline launchers `times` times on each back end, Ray `ray` times on each; no trial is computed twice."""
    wanted = field.options
    sweep = short_sweep(wanted.cells)
    for back_end in ("sqlite", "postgresql"):
        for number in range(wanted.times + wanted.ray):
            inline = number < wanted.times
            with field.place(sweep, NOOP if inline else SLOW, back_end) as place:
                race(place, field.rng, *(["--launcher", "inline"] if inline else ["--slots", "1"]))
                assert field.check(place, sweep, wanted.cells).attempts == wanted.cells, "a trial was computed twice"
    return f"{wanted.times} pairs of inline drivers and {wanted.ray} of Ray on each back end"


if __name__ == "__main__":
    soak("two drivers at once", siege, times=50, ray=5, cells=8)
