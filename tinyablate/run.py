"""The one module that joins plan and store: plan -> dispatch -> plan again, whoever computes the jobs.

A launcher (`workers/ray_tune.py`, or `run_inline` here) asks `next_job`, hands back events, calls `beat`.
"""

import dataclasses
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinyablate.identity import CORE_VERSION
from tinyablate.job import Event, Failed, Finished, Job, Progress, Started, TrialTask
from tinyablate.model_facts import ModelFacts, Request, facts_of, splits_of
from tinyablate.plan import Asked, Plan, PlannedJob, PlannedTrial, SweepPlan, ask, halves, make_plan, unique
from tinyablate.provenance import code_environment, train_digest
from tinyablate.recipe import Recipe
from tinyablate.store.records import CellOf, Claim, EnvironmentRecord, MemoryKey, NewTrial, SweepRecord
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.protocol import protocol_of
from tinyablate.tables.sequential import extended, extension_text, extensions, records
from tinyablate.terminal import say
from tinyablate.worker import TRAIN, JobRunner

BEAT_SECONDS = 10.0
"""How often leases are renewed: several times within `store.LEASE_SECONDS`."""

LEAST_SHARE = 8
"""A job of several trials is cut in two before its micro-batch is less than this share of the batch."""

SLICE_SECONDS = 2.0
"""Longest time slice of a job: the latency of progress, heartbeat and a clean stop."""


@dataclass(frozen=True)
class Weights:
    """A file of pretrained weights."""

    path: Path
    digest: str
    """sha256, 16 hexadecimal digits."""


@dataclass(frozen=True)
class RunRequest:
    """Everything `run` needs, settled and checked, before anything starts."""

    name: str
    """Of the sweep, or of the folder of sweeps."""
    sweeps: tuple[Sweep, ...]
    database: Path
    data_home: Path
    machine: str
    """Name of the device, which the keys of measurements hold."""
    facts: Mapping[Request, ModelFacts] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    """Model name -> its pretrained weights."""
    share: bool = True
    """Whether trials are computed together where the mathematics is the same."""
    cache_features: bool | None = None
    """Keep features of evaluated images; None is wherever that is safe."""
    compile: bool = False
    weights_dir: Path | None = None
    """Folder with files of pretrained weights."""
    device: str = "auto"
    slots: int | None = None
    """Trials at a time; None is one per CPU core, or `trials_per_gpu` per GPU."""
    trials_per_gpu: int = 1
    micro_batch: int | None = None
    learner: str = TRAIN
    format: str = "terminal"
    """Of the tables that are printed at the end."""

    def asked(self, store: Store) -> list[Asked]:
        """The sweeps with their trials' keys, with as many seeds as rules ask for by what the store has now."""
        return [ask(extended(sweep, store), self.machine) for sweep in self.sweeps]

    def plan(self, asked: Sequence[Asked], store: Store) -> Plan:
        """The plan of the sweeps as the store has it now."""
        return make_plan(asked, store.states(unique(asked)), splits=splits_of(self.facts), share=self.share)


@dataclass
class Flight:
    """A job under way."""

    planned: PlannedJob
    job: Job
    claims: dict[str, Claim]
    """By trial key; a trial leaves when it has ended."""
    started_at: float
    progress: Progress | None = None
    from_epoch: int = 1


@dataclass
class Tally:
    """What this run has done so far."""

    finished: int = 0
    diverged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Trial key -> message."""
    superseded: int = 0
    notes: list[str] = field(default_factory=list)
    """What the user should know at the end."""
    epochs: float = 0.0
    """Epochs trained by this run, over all jobs: what the time left is estimated from."""


class Dispatch:
    """One `run` of one or several sweeps: claims jobs, records what comes of them. Used from one thread."""

    def __init__(self, request: RunRequest, store: Store, device: str) -> None:
        self.request, self.store, self.device = request, store, device
        self.tally = Tally()
        self.flights: dict[str, Flight] = {}
        self.started_at = self._beaten_at = time.monotonic()
        self._asked = request.asked(store)
        self._limits = store.limits()
        self._found: dict[MemoryKey, int] = {}
        """Micro-batches that this run tries because larger ones did not fit; stored when one has done its work."""
        self._tried: set[str] = set()
        self._core = f"{CORE_VERSION} {train_digest()}"
        self._environment = code_environment()
        self.plan = self.look()
        register(store, self.plan, request.machine)
        note_rules(request.sweeps, store)
        self._sweep_folders()
        self._queue = list(self.plan.jobs)

    def look(self) -> Plan:
        """The plan as the store has it now; a rule of seeds may ask for more than it did before."""
        if any(sweep.sequential for sweep in self.request.sweeps):
            self._asked = self.request.asked(self.store)
        return self.request.plan(self._asked, self.store)

    def _sweep_folders(self) -> None:
        """Remove checkpoints of finished trials: what a driver left that died between its commit and its clean-up."""
        done = {key[:16] for key, trial in self.plan.trials.items() if trial.state == "done"}
        for folder in self.store.trials_folder.glob("*-*"):
            if folder.name.partition("-")[0] in done:
                shutil.rmtree(folder, ignore_errors=True)

    # ---- handing out ---------------------------------------------------------------------------------------------

    def next_job(self) -> Job | None:
        """The next job that this run could claim, or None when there is none at present.

        A measurement has the machine to itself: it waits for what is under way, and the rest waits for it.
        """
        while self._queue and not (self.flights and self._measures):
            job = self._claim(self._queue.pop(0))
            if job is not None:
                return job
        return None

    @property
    def _measures(self) -> bool:
        """Whether a measurement is next or under way."""
        return self._queue[0].kind == "measure" or any(each.job.kind == "measure" for each in self.flights.values())

    def replan(self) -> bool:
        """Look again when the queue is empty: what can be run now that this run has not tried? False: nothing."""
        before, self.plan = self.plan, self.look()
        if self.plan.trials.keys() != before.trials.keys():
            register(self.store, self.plan, self.request.machine)
            note_rules(self.request.sweeps, self.store)
        self._queue = [
            dataclasses.replace(job, trials=fresh)
            for job in self.plan.jobs
            if (fresh := tuple(trial for trial in job.trials if trial.key not in self._tried))
        ]
        return bool(self._queue)

    def _micro_batch(self, recipe: Recipe) -> int | None:
        """What this run has found to fit, else what the user asks for, else what an earlier run found."""
        what, asked = MemoryKey.of(recipe, self.request.machine), self.request.micro_batch
        known = self._found.get(what) or asked or self._limits.get(what)
        return known if known is not None and known < recipe.batch.size and self._divides(recipe) else asked

    def _divides(self, recipe: Recipe) -> bool:
        """Whether micro-batches give the batch's own gradient."""
        facts = facts_of(self.request.facts)(recipe)
        return facts is not None and not (facts.batch_statistics or facts.dropout)

    def _claim(self, planned: PlannedJob) -> Job | None:
        keys = [trial.key for trial in planned.trials]
        job_id = uuid.uuid4().hex[:12]
        claims = {claim.key: claim for claim in self.store.claim(keys, job_id)}
        self._tried.update(claims)
        if planned.kind == "measure" and self.store.others_running():
            self._say_once("another run was computing while speeds were measured: if on this machine, they are too low")
        if not claims:
            return None  # another run took them
        for claim in claims.values():
            claim.directory.mkdir(parents=True)
        recipe = planned.trials[0].recipe
        weights = self.request.weights.get(recipe.model.name) if recipe.model.pretrained else None
        job = Job(
            id=job_id,
            tasks=tuple(
                TrialTask(trial.key, trial.recipe, trial.seed, claims[trial.key].directory, claims[trial.key].earlier)
                for trial in planned.trials
                if trial.key in claims
            ),
            data=self.request.data_home / recipe.data.name,
            weights=weights.path if weights else None,
            weights_digest=weights.digest if weights else "",
            device=self.device,
            kind=planned.kind,
            micro_batch=self._micro_batch(recipe),
            cache_features=self.request.cache_features is not False,
            compile=self.request.compile,
            core=self._core,
        )
        self.flights[job_id] = Flight(planned, job, claims, time.monotonic())
        return job

    # ---- taking in -----------------------------------------------------------------------------------------------

    def receive(self, job_id: str, event: Event) -> None:
        """Record one event of a job."""
        flight = self.flights.get(job_id)
        if flight is None:
            return
        match event:
            case Started():
                self._begin(flight, event)
            case Progress():
                self._advance(flight, event)
            case Finished(key, outcome):
                self._finish(flight, key, outcome.state, self.store.finish(flight.claims[key], outcome))
            case Failed("out-of-memory", message, _, "") if smaller := self._smaller(flight):
                self._try_again(flight, message, smaller)
            case Failed(cause, message, traceback, key):
                self._fail(flight, cause, message, traceback, [key] if key else list(flight.claims))

    def lost(self, job_id: str, message: str, traceback: str = "") -> None:
        """The worker of this job is gone without a word; `traceback` is what its launcher knows."""
        if job_id in self.flights:
            flight = self.flights[job_id]
            self._fail(flight, "worker lost", message, traceback, list(flight.claims))

    def ended(self, job_id: str) -> None:
        """The job has nothing more to say."""
        flight = self.flights.get(job_id)
        if flight is not None and flight.claims:
            message = "the job ended without an outcome for this trial"
            self._fail(flight, "exception", message, "", list(flight.claims))
        self.flights.pop(job_id, None)

    def _begin(self, flight: Flight, event: Started) -> None:
        flight.from_epoch = event.epoch
        environment = self._environment | dataclasses.asdict(event.environment)
        for claim in flight.claims.values():
            self.store.begin(claim, EnvironmentRecord(**environment), event.epoch, flight.job.micro_batch)

    def _advance(self, flight: Flight, now: Progress) -> None:
        before = flight.progress
        done_before = before.epoch - 1 + before.step / before.steps if before else flight.from_epoch - 1
        if flight.job.kind == "train":
            self.tally.epochs += max(0.0, now.epoch - 1 + now.step / now.steps - done_before)
        flight.progress = now

    def _finish(self, flight: Flight, key: str, state: str, accepted: bool) -> None:
        claim = flight.claims.pop(key)
        if not accepted:
            self.tally.superseded += 1
            return
        self._remember(flight)
        self.tally.finished += 1
        self.tally.diverged += state == "diverged"
        for directory in (claim.directory, *claim.earlier):  # retention: no checkpoint outlives its result
            shutil.rmtree(directory, ignore_errors=True)

    def _fail(self, flight: Flight, cause: str, message: str, traceback: str, keys: Sequence[str]) -> None:
        for key in keys:
            if self.store.fail(flight.claims.pop(key), cause, message, traceback):
                self.tally.failed[key] = message
            else:
                self.tally.superseded += 1

    def _remember(self, flight: Flight) -> None:
        """Store the micro-batch that a job has come to its end with, where larger ones did not fit."""
        what = MemoryKey.of(flight.planned.trials[0].recipe, self.request.machine)
        found = self._found.get(what)
        if found is not None and self._limits.get(what) != found:
            self._limits[what] = found
            self.store.note_limit(what, found)
            self._say_once(
                f"{what.model}: memory of {what.device} held micro-batches of {found}; later runs begin there "
                f"(--micro-batch N for another)"
            )

    # ---- memory --------------------------------------------------------------------------------------------------

    def _smaller(self, flight: Flight) -> list[PlannedJob]:
        """What to try of a job that ran out of memory: half the micro-batch, or half its trials; empty: nothing.

        The micro-batch is halved where that changes no number beyond rounding (design: identity): to an eighth of the
        batch while there are trials that could be computed apart, whose heads and averages may be what is too large.
        """
        recipe = flight.planned.trials[0].recipe
        what = MemoryKey.of(recipe, self.request.machine)
        now = flight.job.micro_batch or recipe.batch.size
        left = [trial for trial in flight.planned.trials if trial.key in flight.claims]
        least = 1 if len(left) == 1 else -(-recipe.batch.size // LEAST_SHARE)
        if now > least and self._divides(recipe):
            self._found[what] = -(-now // 2)
            return [dataclasses.replace(flight.planned, trials=tuple(left))]
        if len(left) > 1:
            self._found.pop(what, None)
            return halves(left)
        return []

    def _try_again(self, flight: Flight, message: str, smaller: list[PlannedJob]) -> None:
        for claim in flight.claims.values():
            self.store.again(claim, "out-of-memory", message)
        flight.claims.clear()
        self._queue[:0] = smaller

    # ---- keeping -------------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Renew the leases when it is time."""
        if time.monotonic() - self._beaten_at < BEAT_SECONDS:
            return
        self._beaten_at = time.monotonic()
        held = {claim: flight.progress for flight in self.flights.values() for claim in flight.claims.values()}
        if held:
            self.store.heartbeat(held)

    def release(self, cause: str) -> None:
        """A clean stop: give back what is under way; it continues from its last finished epoch."""
        for flight in self.flights.values():
            for claim in flight.claims.values():
                self.store.release(claim, cause)
        self.flights.clear()

    def _say_once(self, note: str) -> None:
        if note not in self.tally.notes:
            self.tally.notes.append(note)

    # ---- telling -------------------------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Trials of this run that have not ended, those under way included."""
        running = sum(len(flight.claims) for flight in self.flights.values())
        return running + sum(len(job.trials) for job in self._queue)

    def seconds_left(self, now: float) -> float | None:
        """Estimated from the epochs trained so far per second; None before there is anything to go by."""
        elapsed = now - self.started_at
        trains = [job for job in self._queue if job.kind == "train"]
        only_measures = not trains and all(flight.job.kind == "measure" for flight in self.flights.values())
        if self.tally.epochs < 1 or elapsed <= 0 or only_measures:
            return None
        queued = sum(_epochs(job.trials) for job in trains)
        flying = 0.0
        for flight in self.flights.values():
            at = flight.progress
            epochs = _epochs(flight.job.tasks) if flight.job.kind == "train" else 0
            flying += epochs - (at.epoch - 1 + at.step / at.steps if at else flight.from_epoch - 1)
        return max(0.0, queued + flying) / (self.tally.epochs / elapsed)


def _epochs(trials: Sequence[PlannedTrial] | Sequence[TrialTask]) -> int:
    """Epochs of a job of these trials."""
    return max(trial.recipe.schedule.total_epochs for trial in trials)


def register(store: Store, plan: Plan, machine: str) -> None:
    """Make a plan's sweeps, trials and cells known to the store; `machine` names what measurements are made on."""
    for part in plan.parts:
        _register(store, part, machine)


def _register(store: Store, part: SweepPlan, machine: str) -> None:
    sweep = part.sweep
    record = SweepRecord(sweep.digest, sweep.name, sweep.title, sweep.text, sweep.smoke, "\n".join(sweep.overrides))
    new = [
        NewTrial(
            trial.key, trial.recipe, trial.canonical, trial.seed, trial.fingerprint,
            trial.kind, machine if trial.kind == "measure" else None,
        )
        for trial in part.trials.values()
    ]  # fmt: skip
    cells = [
        CellOf(row, column, sweep.rows[row].label, sweep.columns[column].label, key)
        for (row, column, _), keys in part.cells.items()
        for key in keys
    ]
    store.register(record, new, cells)


def note_rules(sweeps: Sequence[Sweep], store: Store) -> None:
    """Keep with the results how each sweep decides, and, telling it once, which rows got further seeds by its rule."""
    for sweep in sweeps:
        store.note_protocol(sweep.name, sweep.smoke, protocol_of(sweep))
        found = records(sweep, extensions(sweep, store))
        known = store.extensions(sweep.name, sweep.smoke) if found else []
        for record in (record for record in found if record not in known):
            store.note_extension(sweep.name, sweep.smoke, record)
            say(f"{sweep.name}: {extension_text(record)}")


def run_inline(dispatch: Dispatch, tick: Callable[[], None]) -> None:
    """Compute everything in this process, one job after another: for debugging. `tick` is called between slices."""
    while (job := dispatch.next_job()) is not None or dispatch.replan():
        if job is None:
            continue
        runner = JobRunner(job, dispatch.request.learner)
        try:
            while not runner.done:
                for event in runner.slice(SLICE_SECONDS):
                    dispatch.receive(job.id, event)
                dispatch.beat()
                tick()
        finally:
            runner.close()
        dispatch.ended(job.id)
