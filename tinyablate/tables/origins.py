"""What a table was made from: the facts that captions, checklists and `--strict` are about. It prints nothing."""

from tinyablate import datasets
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.arrays import Trials
from tinyablate.tables.protocol import seeds_rule
from tinyablate.tables.schema import About, Origin
from tinyablate.tables.words import images


def about_of(sweep: Sweep, trials: Trials, planned: int, complete: int, device_hours: float | None) -> About:
    """The facts of a sweep's table; `planned` and `complete` count its trials, each once."""
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
        complete=complete,
        origins=tuple(sorted(origins, key=repr)),
        weights={model: tuple(sorted(digests)) for model, digests in sorted(trials.weights.items())},
        device_hours=device_hours,
    )
