"""The driver of a run: Ray Tune dispatches jobs to workers; this process alone writes the database.

Started by `tinyablate run` as `python ray_tune.py WORKSPACE`, never imported. Tune's own persistence is switched off:
the store is what survives, so a run that died is continued by running again. Ray's processes end with this one, however
it ends: the kernel kills the node manager and the control service, and a worker without its node manager ends itself.
"""

import contextlib
import faulthandler
import logging
import os
import pickle
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tinyablate.signals import SIGNALS, NotBegun, hold, ignore_signals, not_begun, on_signals

on_signals(hold)
signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # see `launch.become_driver`

# Before ray is imported. Tune's loggers, snapshots and progress cost a second a trial; the store replaces them.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_worker_prestart": "0",  # idle processes that no actor of ours takes: a second or two of CPU time a run
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in the store
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",  # a run may wait for its database, or for a retry
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}

import ray
from ray import tune
from ray.exceptions import NodeDiedError, RayTaskError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tinyablate import retries
from tinyablate.dispatch import remains
from tinyablate.dispatch.dispatch import SLICE_SECONDS, Dispatch
from tinyablate.dispatch.flights import Flight
from tinyablate.errors import NO_ROOM, TinyablateError, UsageError
from tinyablate.finish import INTERRUPTED, briefly, finish, registered, sign_off
from tinyablate.job import Failed
from tinyablate.launch import read_request
from tinyablate.machine import NO_GPU
from tinyablate.processes import end_all, programs, started
from tinyablate.progress import Board
from tinyablate.run import RunRequest
from tinyablate.store.store import Store
from tinyablate.tables.words import counted
from tinyablate.terminal import duration, repair_streams, say
from tinyablate.worker import JobRunner
from tinyablate.workspace import Workspace

OBJECT_STORE_BYTES = 100 * 2**20
"""Ray's shared memory: jobs and events are small, data sets are read from the page cache."""

LOOK_SECONDS = 1.0
"""How often it is seen to that Ray's processes live and no worker hangs."""

START_SECONDS = 600.0
"""So long a worker may take to start."""

ENDED_BY_SIGNAL = 128 + signal.SIGTERM


# ---- workers ---------------------------------------------------------------------------------------------------------


class Worker(tune.Trainable):
    """Computes jobs in time slices. The process, its imports and its data set stay from one job to the next."""

    def setup(self, config: dict[str, Any]) -> None:
        faulthandler.register(remains.WHERE, file=2, all_threads=False)  # where it is, before it is killed
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._runner.close()
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        job, self._workspace = pickle.loads(config["job"]), Workspace(Path(config["workspace"]))
        self._runner = JobRunner(job, config["learner"])
        self._leaving = False
        self._note = self._workspace.workers / job.id
        remains.note(self._note)

    def step(self) -> dict[str, Any]:
        if self._leaving:
            os._exit(0)  # what it had to say has been said in the step before
        if self._workspace.stop.exists():
            self._runner.stop()
        events = self._runner.slice(SLICE_SECONDS)
        # After an exception the process may be in any state, and one that was asked to end must: neither is used again.
        used_up = (retries.PREEMPTED, retries.EXCEPTION)
        self._leaving = any(isinstance(event, Failed) and not event.key and event.cause in used_up for event in events)
        done = self._runner.done and not self._leaving
        if done:
            self._note.unlink(missing_ok=True)
        return {"events": events, "done": done}

    def cleanup(self) -> None:
        self._runner.close()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        """Whoever owns the machine wants it back: save at the next update. Between two jobs: go."""
        if self._runner.done:
            os._exit(ENDED_BY_SIGNAL)
        self._runner.stop(retries.PREEMPTED)


# ---- Tune ------------------------------------------------------------------------------------------------------------


class Claims(Searcher):
    """Feeds Tune from the store, one job at a time, when a slot is free. Holds no state: Tune pickles it."""

    def __init__(self, driver: "Driver") -> None:
        super().__init__(metric=None, mode=None)
        self._driver = driver

    def suggest(self, trial_id: str) -> Any:
        return self._driver.suggest()

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to learn from a result; it is in the store."""

    def save(self, checkpoint_path: str) -> None:
        """Tune's snapshot of the searcher: empty, the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Never used: a run is continued from the store."""


class LiveOnly(FIFOScheduler):
    """First come, first served among the trials that are not over: Tune's own looks through all of them each time."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        live = tune_controller.get_live_trials()
        return next((trial for trial in live if trial.status == trial.PENDING), None)


class Abandon(KeyboardInterrupt):
    """Leaves Tune at once, without its own clean-up, which waits for workers and for a Ray that may be gone.

    What a handler of signals raises within Ray's own code has to be a KeyboardInterrupt, and may become a bare one.
    """


class Driver(tune.Callback):
    """Tune's events to the dispatch, signals and a request to stop to the workers; sees to it that all of them live."""

    def __init__(self, dispatch: Dispatch, board: Board, slots: int, workspace: Workspace) -> None:
        self._dispatch, self._board, self._slots, self._workspace = dispatch, board, slots, workspace
        self._ray = programs(str(workspace.root), ("gcs_server", "raylet"))
        self._looked_at = time.monotonic()
        self._told = False
        self.signalled = 0
        self.broken: TinyablateError | None = None
        """What ended the run from within a callback: Tune would wrap it, and print where it came from."""

    def __reduce__(self) -> Any:
        return (object, ())  # Tune pickles callbacks into its snapshot; connections stay here

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except TinyablateError as error:
            self.broken = error
            raise Abandon from error

    def suggest(self) -> Any:
        with self._kept():
            return self._suggest()

    def _suggest(self) -> Any:
        self._turn()  # Tune asks again and again, and does nothing else, while nothing runs
        if self._dispatch.stopping:
            return Searcher.FINISHED
        job = self._dispatch.next_job() if len(self._dispatch.flights) < self._slots else None
        if job is None:
            return Searcher.FINISHED if self._dispatch.over else None
        # Pickled once: Tune copies and encodes a trial's configuration over and over, which bytes pass through unread.
        return {
            "id": job.id,
            "job": pickle.dumps(job),
            "learner": self._dispatch.request.learner,
            "workspace": str(self._workspace.root),
        }

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
        job = trial.config["id"]
        self._dispatch.heard(job)
        with self._kept():
            for event in result["events"]:
                self._dispatch.receive(job, event)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        with self._kept():
            self._dispatch.ended(trial.config["id"])
        self._forget(trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        self._check_ray()
        job = trial.config["id"]
        with self._kept():
            if job in self._dispatch.flights and self._dispatch.flights[job].claims:
                self._dispatch.receive(job, self._lost(job, trial))
            self._dispatch.ended(job)
        self._forget(trial)

    def _lost(self, job: str, trial: Any) -> Failed:
        """What is known of a worker that ended without a word."""
        error: Any = None
        with contextlib.suppress(OSError, TypeError):  # TypeError: Tune has kept no error
            error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        if getattr(getattr(error, "cause", None), "errno", None) in NO_ROOM:
            return Failed(retries.DISK_FULL, f"the worker found no room: {error.cause}", "")
        if isinstance(error, RayTaskError) or getattr(error, "actor_init_failed", False):
            return Failed(retries.EXCEPTION, "the worker broke outside of the training", str(error))
        cause = retries.NODE_LOST if isinstance(error, NodeDiedError) else retries.WORKER_LOST
        return remains.post_mortem(self._workspace, job, cause, str(error))

    def _forget(self, trial: Any) -> None:
        """Tune keeps every trial for its summary: let it keep no job and no correctness bits."""
        trial.run_metadata.last_result = {}
        trial.run_metadata.metric_analysis = {}
        trial.run_metadata.metric_n_steps = {}
        (self._workspace.workers / trial.config["id"]).unlink(missing_ok=True)

    # ---- again and again ---------------------------------------------------------------------------------------------

    def on_step_begin(self, iteration: int, trials: Any, **_: Any) -> None:
        with self._kept():
            self._turn()

    def _turn(self) -> None:
        if self.signalled > 1:
            raise Abandon  # it did not get through where the signal was caught
        if self.signalled:
            self._dispatch.stop(retries.STOPPED)
        if self._dispatch.stopping and not self._told:
            self._told = True
            self._tell_workers()
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._workspace.show_alive()
            self._check_ray()
            for flight in self._dispatch.silent():
                self._end_silent(flight)
        self._dispatch.beat()
        self._board.tick()

    def _tell_workers(self) -> None:
        self._workspace.stop.touch()
        running = len(self._dispatch.flights)
        if running and self._dispatch.stopping == retries.STOPPED:
            say(f"stopping: what is under way ({counted(running, 'job')}) is saved at its next update; again: at once")

    def _check_ray(self) -> None:
        """Without its node manager or its control service Ray waits for ever, or ends this process."""
        gone = [pid for pid, since in self._ray.items() if started(pid) != since]
        if gone or not (self._ray or any(node["Alive"] for node in ray.nodes())):  # type: ignore[no-untyped-call]
            self._dispatch.trouble = "Ray's own process died"
            self._dispatch.stop(retries.NODE_LOST)
            raise Abandon

    def _end_silent(self, flight: Flight) -> None:
        """Kill the worker of a job of which no time slice has ended for too long; it has a moment to write where."""
        if flight.given_up:
            return
        job, silent = flight.job.id, duration(60 * self._dispatch.request.hang_minutes)
        worker = remains.worker_of(self._workspace.workers / job)
        if worker is None and time.monotonic() - flight.started_at < START_SECONDS:
            self._dispatch.heard(job)  # the process is not there yet, and hangs only when it has begun
            return
        flight.given_up = True
        if worker is None:
            self._dispatch.trouble = (
                f"no worker took a job within {duration(START_SECONDS)}; see {self._workspace.logs}"
            )
            self._dispatch.stop(retries.NODE_LOST)
            raise Abandon
        remains.end_silent(worker)
        what = f"no time slice ended for {silent}, so its worker was killed"
        self._dispatch.receive(job, remains.post_mortem(self._workspace, job, retries.HUNG, "", what))

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first signal lets workers save what they compute, the second ends all at once."""
        self.signalled += 1
        if self.signalled == 2:  # a third has nothing to add
            raise Abandon

    def settle(self) -> None:
        """Wait for a database that is away, until all is written."""
        while self._dispatch.unwritten:
            self._turn()
            time.sleep(0.1)


# ---- the run ---------------------------------------------------------------------------------------------------------


def start_ray(workspace: Workspace, request: RunRequest) -> tuple[str, int]:
    """Start a Ray of our own; returns the device type and the number of trials at a time."""
    silence_ray()
    ray.init(
        address="local",
        num_cpus=request.slots,
        num_gpus=0 if request.device == "cpu" else None,
        include_dashboard=False,
        configure_logging=True,
        logging_level=logging.ERROR,
        log_to_driver=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(workspace.ray),
    )
    gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    if request.device == "cuda" and not gpus:
        raise UsageError(NO_GPU)
    device = "cuda" if gpus and request.device != "cpu" else "cpu"
    slots = gpus * request.trials_per_gpu if device == "cuda" else int(ray.cluster_resources()["CPU"])  # type: ignore[no-untyped-call]
    return device, slots


def silence_ray() -> None:
    """Ray has no options for these: it would take SIGTERM from `leave`, and tell of dead workers on stdout."""
    ray._private.utils.set_sigterm_handler = lambda handler: None
    ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # of trials that "did not complete": the store knows why


def resources(device: str, request: RunRequest) -> dict[str, float]:
    """What a trial occupies: one core, or its share of a GPU."""
    return {"cpu": 1} if device == "cpu" else {"cpu": 0, "gpu": 1 / request.trials_per_gpu}


def drive(workspace: Workspace) -> int:
    """Run the workspace's request to its end and return the exit code."""
    request = read_request(workspace)
    workspace.request.unlink()  # it may hold the database's password, and nobody needs it any more
    try:
        on_signals(not_begun)
        with Store(request.database) as store, registered(request, store):
            on_signals(lambda number, frame: leave(workspace, request))
            device, slots = start_ray(workspace, request)
            on_signals(not_begun)
            dispatch = Dispatch(request, store, device)
            with Board(dispatch) as board:
                driver = Driver(dispatch, board, slots, workspace)
                compute(driver, dispatch, resources(device, request), workspace)
            return finish(dispatch, store, at_once=driver.signalled > 1)
    except NotBegun:
        leave(workspace, request)


def leave(workspace: Workspace, request: RunRequest) -> NoReturn:
    """End at once what has claimed nothing. The start of Ray cannot be unwound half-way."""
    ignore_signals()
    say("stopped before the first trial; run again to start")
    sign_off(request.database)
    end_all(str(workspace.root))
    shutil.rmtree(workspace.root, ignore_errors=True)
    os._exit(INTERRUPTED)


def compute(driver: Driver, dispatch: Dispatch, needed: dict[str, float], workspace: Workspace) -> None:
    """Let Tune compute until nothing is left or it is stopped; whatever is under way then is given back."""
    try:
        on_signals(driver.on_signal)
        tune.run(
            tune.with_resources(Worker, needed),
            name="run",
            storage_path=str(workspace.ray / "tune"),
            search_alg=Claims(driver),
            callbacks=[driver],
            scheduler=LiveOnly(),  # type: ignore[no-untyped-call]
            num_samples=-1,
            reuse_actors=True,
            raise_on_failed_trial=False,
            verbose=0,
        )
        driver.settle()
    except KeyboardInterrupt:
        if driver.broken is not None:
            raise driver.broken from None
        dispatch.stop(retries.STOPPED)
    finally:
        give_back = partial(dispatch.release, dispatch.stopping or retries.DRIVER_GONE)
        briefly(give_back) if driver.signalled > 1 else give_back()


def main() -> int:
    """Drive, then leave nothing behind."""
    repair_streams()
    workspace = Workspace(Path(sys.argv[1]))
    os.chdir(workspace.code)  # Ray puts the current folder on its workers' path: not the user's checkout
    try:
        return drive(workspace)
    except TinyablateError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:  # the second signal, while it says what came of the first
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            say(f"error: no room is left on a disk: {error}; free some, then run again to continue")
        else:
            traceback.print_exc()  # not by Ray's hook, which speaks to processes that are gone
        return 1
    finally:
        ignore_signals()
        if sys.platform != "linux":
            ray.shutdown()  # elsewhere processes are found by their command line alone, if at all
        end_all(str(workspace.root))
        shutil.rmtree(workspace.root, ignore_errors=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # not by Ray's own end, which waits for what is gone
