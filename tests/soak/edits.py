"""The checkout edited while real trainings run, and their workers killed."""

from reliability.outages import copy_of_code, edit_code
from reliability.siege import short_sweep
from soaking import Field, soak


def siege(field: Field) -> str:
    """Every file of the package raises on import from the first result on; the run ends with the same numbers."""
    wanted = field.options
    sweep = short_sweep(wanted.cells)
    for number in range(wanted.times):
        with field.place(sweep, code=copy_of_code(field.folder / f"code{number}")) as place:
            edit_code(place)
            field.check(place, sweep, wanted.cells)
    return f"{wanted.times} checkouts edited"


if __name__ == "__main__":
    soak("code edited", siege, times=3, cells=8)
