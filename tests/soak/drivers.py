"""Random SIGKILLs of drivers over a grid of short real trainings."""

from reliability.kills import Killed, kill_drivers
from reliability.siege import short_sweep
from soaking import Field, soak


def siege(field: Field) -> str:
    """Until the kills are used up; a sweep that is done before is begun again in a new database."""
    wanted, killed, databases = field.options, Killed(), 0
    sweep = short_sweep(wanted.cells, model=wanted.model)
    while killed.kills < wanted.kills:
        with field.place(sweep, wanted.learner, wanted.backend) as place:
            field.table(place, sweep)  # before the first kill: it needs the same processor
            left = wanted.kills - killed.kills
            killed += kill_drivers(place, field.rng, left, wanted.cells, 1.0, "--launcher", wanted.launcher)
            field.check(place, sweep, wanted.cells)
            databases += 1
    when = ", ".join(f"{count} at {what}" for what, count in sorted(killed.when.items()))
    how = ", ".join(f"{count} {what}" for what, count in sorted(killed.how.items()))
    return f"{killed.kills} kills ({when}; {how}) over {wanted.cells} cells, {databases} databases"


if __name__ == "__main__":
    soak(
        "drivers killed", siege, kills=200, cells=64, model="test_resnet", learner="", backend="sqlite", launcher="ray"
    )
