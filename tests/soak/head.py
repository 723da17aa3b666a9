"""Ray's own processes killed in the middle of a sweep, over and over."""

from reliability.outages import kill_head
from reliability.siege import short_sweep
from soaking import SLOW, Field, soak

NAMES = ("raylet", "gcs_server")


def siege(field: Field) -> str:
    """Each run of the sweep loses its raylet or its gcs_server; the last one finishes."""
    wanted = field.options
    sweep, kills = short_sweep(wanted.cells, epochs=5), 0
    with field.place(sweep, SLOW) as place:
        while kills < wanted.kills and place.complete() < wanted.cells:
            kill_head(place, field.rng, NAMES[kills % 2])
            place.acknowledge()
            kills += 1
        field.check(place, sweep, wanted.cells)
    return f"{kills} heads killed over {wanted.cells} cells"


if __name__ == "__main__":
    soak("Ray's head killed", siege, kills=10, cells=64)
