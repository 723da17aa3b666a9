"""Every cause that ends an attempt takes its path, and `show` tells it: exception, SIGKILL, crash, SIGTERM, hang, NaN,
memory."""

import re
import socket

from reliability.siege import Place
from soaking import Field, soak

SWEEP = """
title = "Fates"
metric = "val_top1"
select = "last"
seeds = [{seeds}]
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "{model}"
model.pretrained = false
schedule.epochs = 2
batch.size = 20
[grid]
"optimizer.lr" = [{rates}]
"""

FATES = {
    1: ("exception", ("ValueError: this seed is unlucky", "Traceback", "tried again as attempt 2")),
    2: ("exception", ("ValueError: this seed is unlucky", "Traceback", "given up after 2 attempts")),
    3: ("worker lost", ("the last words of a worker", "tried again as attempt 2")),
    4: ("worker lost", ("Segmentation fault", "tried again as attempt 2")),
    5: ("preempted", ("tried again as attempt 2",)),
    6: ("hung", ("no time slice ended for 18s", "analytic.py", "tried again as attempt 2")),
}
"""Of the learner `analytic:fates`, by seed: the cause, and what `show` says besides. Seed 7 diverges."""


def siege(field: Field) -> str:
    """A grid of trials of all fates; then trials that a device has no memory for, with a model whose batch divides."""
    rates = field.options.rates
    struck = [_fates(field, rates), _memory(field)]
    return f"{sum(struck)} trials struck by 7 causes"


def _fates(field: Field, rates: int) -> int:
    sweep = _sweep("test_resnet", range(8), rates)
    with field.place(sweep, "analytic:fates") as place:
        place.run("run", "s", "--hang-minutes", "0.3", code=1)
        assert place.states() == {"complete": 6 * rates, "diverged": rates, "failed": rates}, place.states()
        for seed, (cause, words) in FATES.items():
            _check_shown(place, seed, cause, words)
        place.run("retry", "s")
        place.run("run", "s", TINYABLATE_LEARNER="analytic:slow")
        assert place.states() == {"complete": 7 * rates, "diverged": rates}, place.states()
        place.check_clean()
    return 7 * rates


def _check_shown(place: Place, seed: int, cause: str, words: tuple[str, ...]) -> None:
    keys = place.ask(f"SELECT key FROM stored_trials WHERE seed = {seed}")
    for (key,) in keys:
        shown = place.run("show", key[:12], "--why")
        for word in (f"cause: {cause}", "attempt 1: failed", *words):
            assert word in shown, f"seed {seed}: {word!r} is not in\n{shown}"
        assert re.search(rf"{socket.gethostname()}|on test,", shown), f"seed {seed}: no host in\n{shown}"


def _memory(field: Field) -> int:
    """20 images do not fit, 16 do: by halves, with a model that has no batch statistics."""
    with field.place(_sweep("test_vit", range(2), 1), "analytic:cramped") as place:
        place.run("run", "s")
        assert place.states() == {"complete": 2}
        tried = set(place.ask("SELECT state, cause, micro_batch FROM attempts"))
        assert tried == {("failed", "out-of-memory", None), ("complete", None, 10)}, tried
        (key,) = place.ask("SELECT key FROM stored_trials WHERE seed = 0")[0]
        shown = place.run("show", key[:12], "--why")
        assert "cause: out-of-memory" in shown, shown
        assert "micro-batch 10" in shown, shown
    return 2


def _sweep(model: str, seeds: range, rates: int) -> str:
    values = ", ".join(f"{1e-3 * (index + 1):.6g}" for index in range(rates))
    return SWEEP.format(model=model, seeds=", ".join(map(str, seeds)), rates=values)


if __name__ == "__main__":
    soak("causes", siege, rates=4)
