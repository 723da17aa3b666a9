"""What a table was made from: the facts that captions, checklists and `--strict` are about. It prints nothing."""

from collections.abc import Mapping

from tinyablate import datasets
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.arrays import Trials
from tinyablate.tables.protocol import seeds_rule
from tinyablate.tables.schema import About, Origin
from tinyablate.tables.words import counted, images


def about_of(
    sweep: Sweep,
    trials: Trials,
    planned: int,
    states: Mapping[str, int],
    changed: tuple[str, ...],
    device_hours: float | None,
) -> About:
    """The facts of a sweep's table; `planned` and `states` count its trials, each once, the latter by their state."""
    recipes = [cell.recipe for cell in sweep.cells]
    origins = (
        Origin(data, datasets.lookup(data).fingerprint, origin, count)
        for (data, origin), count in trials.provenance.items()
    )
    return About(
        select=sweep.select,
        margin=sweep.margin,
        family=sweep.family,
        test="stein" if sweep.sequential else sweep.test,
        seeds=seeds_rule(sweep),
        measured_on=tuple(dict.fromkeys(images(recipe.evaluate.split) for recipe in recipes)),
        models=tuple(dict.fromkeys(recipe.model.name for recipe in recipes)),
        overrides=sweep.overrides,
        digest=sweep.digest,
        planned=planned,
        complete=states.get("complete", 0),
        diverged=states.get("diverged", 0),
        changed=changed,
        origins=tuple(sorted(origins, key=repr)),
        weights={model: tuple(sorted(digests)) for model, digests in sorted(trials.weights.items())},
        device_hours=device_hours,
    )


def unsettled(about: About) -> tuple[str, ...]:
    """Why the table is not yet, or not any more, what the sweep was declared to show: a phrase each, none where it is.

    A trial that diverged has ended: that is a result. A rule that changed after results were there could have been
    chosen by them.
    """
    left = about.planned - about.complete - about.diverged
    missing = (f"{left} of {counted(about.planned, 'trial')} without a result",) if left > 0 else ()
    return (*missing, *(f"changed since the first run: {phrase}" for phrase in about.changed))
