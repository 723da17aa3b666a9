"""What a run has in hand: jobs that wait, jobs under way, and a tally of what has ended. It decides nothing."""

import random
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tinyablate.job import Job, Progress, TrialTask
from tinyablate.plan import PlannedJob
from tinyablate.run import RunRequest
from tinyablate.store.records import Claim


@dataclass(frozen=True)
class Waiting:
    """A job that is not handed out yet."""

    planned: PlannedJob
    id: str
    """Settled before it is claimed: a claim whose answer was lost is asked for again under the same name."""
    not_before: float = 0.0
    """On the monotonic clock."""


class Queue:
    """Jobs in the order in which they are handed out; those that are tried again come first, when their time is."""

    def __init__(self, jobs: Iterable[PlannedJob] = ()) -> None:
        self._jobs = [_waiting(job) for job in jobs]

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[PlannedJob]:
        return (each.planned for each in self._jobs)

    def first(self) -> Waiting | None:
        """The next job whose time has come; it stays in the queue."""
        now = time.monotonic()
        return next((each for each in self._jobs if each.not_before <= now), None)

    def remove(self, job: Waiting) -> None:
        """Take it out."""
        self._jobs.remove(job)

    def go_elsewhere(self, free: Collection[str]) -> None:
        """Leave out the jobs none of whose trials are `free` (keys), and go on at a random one; measurements stay last.

        Two runs that meet in the middle of their queues part again, rather than ask for every job twice.
        """
        left = [each for each in self._jobs if any(trial.key in free for trial in each.planned.trials)]
        at = random.randrange(len(left)) if left else 0
        self._jobs = sorted(left[at:] + left[:at], key=lambda each: each.planned.kind == "measure")

    def again(self, jobs: Iterable[PlannedJob], seconds: float = 0.0) -> None:
        """Put jobs at the front, each to be handed out after so many seconds."""
        self._jobs[:0] = [_waiting(job, seconds) for job in jobs]


def _waiting(job: PlannedJob, seconds: float = 0.0) -> Waiting:
    return Waiting(job, uuid.uuid4().hex[:12], time.monotonic() + seconds if seconds else 0.0)


def job_of(
    waiting: Waiting,
    claims: Mapping[str, Claim],
    request: RunRequest,
    *,
    device: str,
    micro_batch: int | None,
    core: str,
) -> Job:
    """What a worker gets: the trials of a job that could be claimed."""
    recipe = waiting.planned.trials[0].recipe
    weights = request.weights.get(recipe.model.name) if recipe.model.pretrained else None
    return Job(
        id=waiting.id,
        tasks=tuple(
            TrialTask(trial.key, trial.recipe, trial.seed, claims[trial.key].directory, claims[trial.key].earlier)
            for trial in waiting.planned.trials
            if trial.key in claims
        ),
        data=request.data_home / recipe.data.name,
        weights=weights.path if weights else None,
        weights_digest=weights.digest if weights else "",
        device=device,
        kind=waiting.planned.kind,
        micro_batch=micro_batch,
        cache_features=request.cache_features is not False,
        compile=request.compile,
        core=core,
        checkpoint_minutes=request.checkpoint_minutes,
        keep_weights=request.keep_weights,
    )


@dataclass
class Flight:
    """A job under way."""

    planned: PlannedJob
    job: Job
    claims: dict[str, Claim]
    """By trial key; a trial leaves when it has ended."""
    started_at: float
    silent: float = 0.0
    """Seconds since its last time slice ended or it was handed out, as far as this process was there to hear it."""
    progress: Progress | None = None
    from_epoch: int = 1
    back: dict[str, float] = field(default_factory=dict)
    """Trials that were given back and are not in the queue yet: key -> seconds until they may be tried again."""
    given_up: bool = False
    """Its worker was killed because nothing was heard of it."""
    over: bool = False
    """Its worker has nothing more to say; what it said may still wait for the database."""

    def of(self, keys: Iterable[str]) -> PlannedJob:
        """The job with these of its trials alone."""
        wanted = set(keys)
        return replace(self.planned, trials=tuple(trial for trial in self.planned.trials if trial.key in wanted))


@dataclass
class Tally:
    """What this run has done so far."""

    finished: int = 0
    diverged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Trial key -> message."""
    again: Counter[str] = field(default_factory=Counter)
    """Cause -> attempts that ended by it and were followed by another."""
    superseded: int = 0
    notes: list[str] = field(default_factory=list)
    """What the user should know at the end."""
    epochs: float = 0.0
    """Epochs trained by this run, over all jobs: what the time left is estimated from."""

    def note(self, text: str) -> None:
        """Tell it at the end, once."""
        if text not in self.notes:
            self.notes.append(text)
