"""One run's dispatch: claims jobs, records what comes of them, plans again. Used from one thread; it computes nothing.

A launcher (`workers/ray_tune.py`, or `inline` here) asks `next_job` until `over`, hands back events, calls `beat`. What
follows an attempt that ended without a result is decided by `retries`; a database that is away for a while is waited
for (`outbox`), and meanwhile what is under way goes on.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from tinyablate import retention, retries
from tinyablate.dispatch.flights import Flight, Queue, Tally, Waiting, job_of
from tinyablate.dispatch.memory import Memory
from tinyablate.dispatch.outbox import Outbox, Write
from tinyablate.errors import NO_ROOM, AwayError, DiskFullError, WorkError
from tinyablate.identity import CORE_VERSION
from tinyablate.job import Event, Failed, Finished, Job, Outcome, Progress, Started
from tinyablate.plan import Plan, PlannedJob, state_of
from tinyablate.provenance import code_environment, train_digest
from tinyablate.run import RunRequest, note_rules, register
from tinyablate.store.records import Claim, EnvironmentRecord
from tinyablate.store.store import LEASE_SECONDS, Store

BEAT_SECONDS = min(10.0, LEASE_SECONDS / 4)
"""How often leases are renewed, and it is asked whether to stop: several times within a lease."""

SLICE_SECONDS = 2.0
"""Longest time slice of a job: the latency of progress, heartbeat and a clean stop."""

DEAF_SECONDS = 1.0
"""If `beat` is called later than this after the last time, this process was stopped, or waited for something."""

SEARCH_SECONDS = 0.5
"""So long `next_job` looks for a job that no other run has taken; then others have their turn."""


class Dispatch:
    """One `run` of one or several sweeps."""

    def __init__(self, request: RunRequest, store: Store, device: str) -> None:
        self.request, self.store, self.device = request, store, device
        self.tally = Tally()
        self.flights: dict[str, Flight] = {}
        self.stopping: str | None = None
        """Why no more jobs are handed out: a cause of `retries`."""
        self.trouble = ""
        """What the system said of the disk, where that is why."""
        self.started_at = self._beaten_at = self._listened_at = time.monotonic()
        self._outbox = Outbox()
        self._asked = request.asked(store)
        self._memory = Memory(request, store.limits())
        self._tried: set[str] = set()
        self._core = f"{CORE_VERSION} {train_digest()}"
        self._environment = code_environment()
        self.plan = self.look()
        register(store, self.plan, request.machine)
        note_rules(request.sweeps, store)
        self._sweep_folders()
        self._queue = Queue(self.plan.jobs)
        self._exhausted = False

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
                retention.drop(folder)

    # ---- handing out ---------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether nothing is under way and nothing more will be handed out."""
        return not self.flights and not self._outbox and (self._exhausted or self.stopping is not None)

    def next_job(self) -> Job | None:
        """The next job that this run could claim, or None when there is none at present."""
        if self.stopping or not self._flush() or self._outbox.back_for < BEAT_SECONDS:
            return None  # no lease could be renewed meanwhile: others' first have their turn
        with self._room(), contextlib.suppress(AwayError), self._outbox.reach():
            return self._next()
        return None

    def _next(self) -> Job | None:
        until = time.monotonic() + SEARCH_SECONDS
        while time.monotonic() < until:
            waiting = self._queue.first()
            if waiting is None:
                if self._queue or self.flights or not self._replan():
                    return None
            elif self.flights and self._measures(waiting):
                return None
            else:
                job = self._claim(waiting)
                self._queue.remove(waiting)
                if job is not None:
                    return job
                self._queue.go_elsewhere(self._free())
        return None

    def _free(self) -> set[str]:
        """Trials of the queue that no other run has taken, or is through with."""
        states = self.store.states([trial.key for job in self._queue for trial in job.trials])
        return {key for key, known in states.items() if state_of(known) in ("new", "stale")}

    def _measures(self, waiting: Waiting) -> bool:
        """Whether a measurement is next or under way: it has the machine to itself, and waits for what is there."""
        return "measure" in (waiting.planned.kind, *(flight.job.kind for flight in self.flights.values()))

    def _replan(self) -> bool:
        """Look again when all is done: what can be run now that this run has not tried? False: nothing, it is over."""
        before, self.plan = self.plan, self.look()
        if self.plan.trials.keys() != before.trials.keys():
            register(self.store, self.plan, self.request.machine)
            note_rules(self.request.sweeps, self.store)
        self._queue = Queue(
            dataclasses.replace(job, trials=fresh)
            for job in self.plan.jobs
            if (fresh := tuple(trial for trial in job.trials if trial.key not in self._tried))
        )
        self._exhausted = not self._queue
        return bool(self._queue)

    def _claim(self, waiting: Waiting) -> Job | None:
        planned = waiting.planned
        claims = {claim.key: claim for claim in self.store.claim([t.key for t in planned.trials], waiting.id)}
        if planned.kind == "measure" and self.store.others_running():
            self.tally.note(
                "another run was computing while speeds were measured: if on this machine, they are too low"
            )
        if not claims:
            return None  # another run took them
        self._tried.update(claims)
        self._make_folders(claims)
        micro_batch = self._memory.micro_batch(planned.trials[0].recipe)
        job = job_of(waiting, claims, self.request, device=self.device, micro_batch=micro_batch, core=self._core)
        self.flights[job.id] = Flight(planned, job, claims, started_at=time.monotonic())
        return job

    def _make_folders(self, claims: Mapping[str, Claim]) -> None:
        try:
            for claim in claims.values():
                claim.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            for claim in claims.values():
                self.store.release(claim, retries.DISK_FULL if error.errno in NO_ROOM else retries.EXCEPTION)
            kind = DiskFullError if error.errno in NO_ROOM else WorkError
            raise kind(f"{self.store.trials_folder}: no folder can be made for a trial: {error.strerror}") from error

    # ---- taking in -----------------------------------------------------------------------------------------------

    def heard(self, job_id: str) -> None:
        """A time slice of this job has ended."""
        if job_id in self.flights:
            self.flights[job_id].silent = 0.0

    def receive(self, job_id: str, event: Event) -> None:
        """Record one event of a job, in order with all others, now or when the database is back."""
        flight = self.flights.get(job_id)
        if flight is None:
            return
        match event:
            case Started(epoch):
                flight.from_epoch = epoch
                self._write(partial(self._begin, flight, event))
            case Progress():
                self._advance(flight, event)
            case Finished(key, outcome):
                self._write(partial(self._finish, flight, key, outcome))
            case Failed():
                self._write(partial(self._failed, flight, event))

    def ended(self, job_id: str) -> None:
        """The job has nothing more to say; what is left of it is tried again."""
        if job_id in self.flights:
            self.flights[job_id].over = True
            self._write(partial(self._ended, self.flights[job_id]))

    def _write(self, write: Write) -> None:
        with self._room():
            self._outbox.do(write)

    def _flush(self) -> bool:
        with self._room():
            return self._outbox.flush()
        return False

    def _begin(self, flight: Flight, event: Started) -> None:
        record = EnvironmentRecord(**self._environment | dataclasses.asdict(event.environment))
        for claim in flight.claims.values():
            self.store.begin(claim, record, event.epoch, flight.job.micro_batch, event.step)

    def _advance(self, flight: Flight, now: Progress) -> None:
        before = flight.progress
        done_before = before.epoch - 1 + before.step / before.steps if before else flight.from_epoch - 1
        if flight.job.kind == "train":
            self.tally.epochs += max(0.0, now.epoch - 1 + now.step / now.steps - done_before)
        flight.progress = now

    def _finish(self, flight: Flight, key: str, outcome: Outcome) -> None:
        claim = flight.claims.get(key)
        if claim is None:
            return
        if outcome.state == "diverged" and self._then(retries.NOT_FINITE, claim) == "again":
            message = f"the loss stopped being finite in epoch {outcome.diverged_epoch}"
            self._unfinished(flight, Failed(retries.NOT_FINITE, message, "", key))
            return
        if not self.store.finish(claim, outcome):
            del flight.claims[key]
            self._superseded(key)
            return
        if proved := self._memory.proved(flight.planned.trials[0].recipe):
            self.store.note_limit(*proved)
            self._memory.noted(*proved)
            self.tally.note(
                f"{proved[0].model}: memory of {proved[0].device} held micro-batches of {proved[1]}; later runs begin "
                f"there (--micro-batch N for another)"
            )
        del flight.claims[key]  # last of what may have to be done again
        self.tally.finished += 1
        self.tally.diverged += outcome.state == "diverged"
        for directory in (claim.directory, *claim.earlier):  # no checkpoint outlives its result
            retention.drop(directory)

    def _failed(self, flight: Flight, event: Failed) -> None:
        left = flight.of({*flight.claims, *flight.back})
        if event.cause != retries.OUT_OF_MEMORY or event.key or not left.trials:
            self._unfinished(flight, event)
        elif smaller := self._memory.smaller(left, flight.job.micro_batch):
            self._give_back(flight, event, list(flight.claims))
            flight.back.clear()
            self._queue.again(smaller)
        else:
            message = f"{event.message}; {self._memory.why(left.trials[0].recipe)}"
            self._unfinished(flight, dataclasses.replace(event, message=message))

    def _unfinished(self, flight: Flight, event: Failed) -> None:
        """What follows for trials whose attempt ended without a result: all of the job, or the one that is named."""
        for key in [key for key in flight.claims if event.key in ("", key)]:
            claim = flight.claims[key]
            then = self._then(event.cause, claim)
            if then == "again":
                self._give_back(flight, event, [key])
            elif then == "fail":
                accepted = self.store.fail(claim, event.cause, event.message, event.traceback)
                del flight.claims[key]
                if accepted:
                    self.tally.failed[key] = event.message
                else:
                    self._superseded(key)
            else:
                self.store.release(claim, event.cause)
                del flight.claims[key]
        if flight.back:
            self._queue.again([flight.of(flight.back)], max(flight.back.values()))
            flight.back.clear()
        if event.cause == retries.DISK_FULL:
            self._full(event.message)

    def _then(self, cause: str, claim: Claim) -> retries.Then:
        allowed = [part.sweep.retry_diverged for part in self.plan.parts if claim.key in part.trials]
        limits = retries.Limits(lost=self.request.max_lost, not_finite=max(allowed, default=0))
        return retries.then(cause, claim.causes, limits)

    def _give_back(self, flight: Flight, event: Failed, keys: Iterable[str]) -> None:
        """Record that attempts failed, and that their trials are to be tried again."""
        for key in keys:
            claim = flight.claims[key]
            accepted = self.store.again(claim, event.cause, event.message, event.traceback)
            del flight.claims[key]
            self._tried.discard(key)
            if accepted:
                self.tally.again[event.cause] += 1
                flight.back[key] = retries.wait(event.cause, claim.causes)
            else:
                self._superseded(key)

    def _superseded(self, key: str) -> None:
        """The lease was lost meanwhile; whoever has it may lose it too, so that this run may try the trial again."""
        self.tally.superseded += 1
        self._tried.discard(key)

    def _ended(self, flight: Flight) -> None:
        try:
            if flight.claims:
                message = "the job ended without an outcome for this trial"
                self._unfinished(flight, Failed(self.stopping or retries.EXCEPTION, message, ""))
        except AwayError:  # it is done again, whole
            raise
        except BaseException:  # with no room not even to give it back: the next run takes it over
            self.flights.pop(flight.job.id, None)
            raise
        self.flights.pop(flight.job.id, None)

    # ---- keeping and stopping ------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Write what is kept; when it is time, renew the leases and see whether somebody asked this run to stop."""
        self._flush()
        self._listen()
        if time.monotonic() - self._beaten_at < BEAT_SECONDS:
            return
        try:
            with self._room(), self._outbox.reach():
                self._renew()
        except AwayError:
            return
        self._beaten_at = time.monotonic()

    def _listen(self) -> None:
        """Count for how long nothing was heard of each job, but not the time in which this process did not listen."""
        now = time.monotonic()
        for flight in (each for each in self.flights.values() if not each.over):
            flight.silent += min(now - self._listened_at, DEAF_SECONDS)
        self._listened_at = now

    def _renew(self) -> None:
        silent = {flight.job.id for flight in self.silent()}
        held = {
            claim: flight.progress
            for flight in self.flights.values()
            if flight.job.id not in silent
            for claim in flight.claims.values()
        }
        if held and self.store.heartbeat(held):
            self.tally.note("leases of this run had ended and other runs took trials over; both computed them")
        if self.store.beat_driver():
            self.stop(retries.STOPPED)

    def silent(self) -> list[Flight]:
        """Jobs of which no time slice has ended for longer than a worker may be silent."""
        most = 60 * self.request.hang_minutes
        return [flight for flight in self.flights.values() if flight.silent > most and not flight.over]

    def stop(self, cause: str) -> None:
        """Hand out no more jobs; what is under way is for the launcher to end. The first cause stays."""
        self.stopping = self.stopping or cause

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        """For whatever writes: where there is no room, the run stops."""
        try:
            yield
        except DiskFullError as error:
            self._full(str(error))

    def _full(self, message: str) -> None:
        self.trouble = self.trouble or message
        self.stop(retries.DISK_FULL)

    def release(self, cause: str) -> None:
        """Give back what is under way, as far as the database takes it; it continues from its last checkpoint."""
        self._flush()  # what counts first, if the database is back
        with contextlib.suppress(WorkError):
            for flight in self.flights.values():
                for claim in flight.claims.values():
                    with self._outbox.reach():
                        self.store.release(claim, cause)
        self.flights.clear()

    @property
    def unwritten(self) -> int:
        """Events that wait for the database."""
        return len(self._outbox)

    # ---- telling -------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> Iterator[PlannedJob]:
        """Jobs that are not handed out yet."""
        return iter(self._queue)

    @property
    def left(self) -> int:
        """Trials of this run that have not ended, those under way included."""
        running = sum(len(flight.claims) for flight in self.flights.values())
        return running + sum(len(job.trials) for job in self._queue)
