"""How many images a device's memory takes at a time: what to try first, what next, and what to tell at last."""

from collections.abc import Mapping

from tinyablate.model_facts import facts_of
from tinyablate.plan import PlannedJob, halves
from tinyablate.recipe import Recipe
from tinyablate.run import RunRequest
from tinyablate.store.records import MemoryKey

LEAST_SHARE = 8
"""A job of several trials is cut in two before its micro-batch is less than this share of the batch."""


class Memory:
    """The micro-batches of one run."""

    def __init__(self, request: RunRequest, limits: Mapping[MemoryKey, int]) -> None:
        """`limits` are what earlier runs found."""
        self._request = request
        self._limits = dict(limits)
        self._found: dict[MemoryKey, int] = {}
        """Micro-batches that this run tries because larger ones did not fit; stored when one has done its work."""

    def micro_batch(self, recipe: Recipe) -> int | None:
        """What this run has found to fit, else what the user asks for, else what an earlier run found."""
        what, asked = MemoryKey.of(recipe, self._request.machine), self._request.micro_batch
        known = self._found.get(what) or asked or self._limits.get(what)
        return known if known is not None and known < recipe.batch.size and not self._whole(recipe) else asked

    def smaller(self, job: PlannedJob, micro_batch: int | None) -> list[PlannedJob]:
        """What to try of a job that ran out of memory: half the micro-batch, or half its trials; empty: nothing.

        The micro-batch is halved where that changes no number beyond rounding (design: identity): to an eighth of the
        batch while there are trials that could be computed apart, whose heads and averages may be what is too large.
        """
        trials, recipe = job.trials, job.trials[0].recipe
        what = MemoryKey.of(recipe, self._request.machine)
        now = micro_batch or recipe.batch.size
        least = 1 if len(trials) == 1 else -(-recipe.batch.size // LEAST_SHARE)
        if now > least and not self._whole(recipe):
            self._found[what] = -(-now // 2)
            return [job]
        if len(trials) > 1:
            self._found.pop(what, None)
            return halves(trials)
        return []

    def why(self, recipe: Recipe) -> str:
        """Why a lone trial that does not fit cannot be made smaller, and what may help, in words."""
        cure = "use a device with more memory, or fewer trials at a time (--trials-per-gpu, --slots)"
        if reason := self._whole(recipe):
            return f"the batch of {recipe.batch.size} cannot be computed in parts, because {reason}: {cure}"
        return f"a single image is too much already: {cure}"

    def proved(self, recipe: Recipe) -> tuple[MemoryKey, int] | None:
        """The micro-batch that a job has come to its end with, where larger ones did not fit, until it is `noted`."""
        what = MemoryKey.of(recipe, self._request.machine)
        found = self._found.get(what)
        return None if found is None or self._limits.get(what) == found else (what, found)

    def noted(self, what: MemoryKey, micro_batch: int) -> None:
        """It is stored: it need not be again."""
        self._limits[what] = micro_batch

    def _whole(self, recipe: Recipe) -> str:
        """Why the batch must be computed whole; "" where micro-batches give its own gradient."""
        facts = facts_of(self._request.facts)(recipe)
        if facts is None:
            return "nothing is known of the model"
        if facts.batch_statistics:
            return "the model takes statistics over it"
        return "the model's dropout is drawn over it" if facts.dropout else ""
