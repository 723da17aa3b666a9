"""The driver of a run: Ray Tune dispatches jobs to workers; this process alone writes the database.

Started by `tinyablate run` as `python ray_tune.py WORKSPACE`, never imported. Tune's own persistence is switched off:
the store is what survives, so a run that died is continued by running again.
"""

import logging
import os
import pickle
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tinyablate.processes import kill_all, mentioning


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """A signal before the first trial, in the seconds that Ray takes to start: nothing is claimed, so go at once."""
    print("stopped before the first trial; run again to start", file=sys.stderr, flush=True)
    kill_all(mentioning(sys.argv[1]))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    os._exit(130)  # Ray's start cannot be unwound half-way


SIGNALS = (signal.SIGINT, signal.SIGTERM)
for each in SIGNALS:
    signal.signal(each, leave)
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
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tinyablate import run
from tinyablate.errors import TinyablateError, UsageError, WorkError
from tinyablate.finish import finish
from tinyablate.launch import Workspace, read_request
from tinyablate.machine import NO_GPU
from tinyablate.progress import Board
from tinyablate.store.store import Store
from tinyablate.terminal import repair_streams, say
from tinyablate.worker import JobRunner

OBJECT_STORE_BYTES = 100 * 2**20
"""Ray's shared memory: jobs and events are small, data sets are read from the page cache."""


class Worker(tune.Trainable):
    """Computes jobs in time slices. The process, its imports and its data set stay from one job to the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self._runner = JobRunner(pickle.loads(config["job"]), config["learner"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._runner.close()
        self._runner = JobRunner(pickle.loads(new_config["job"]), new_config["learner"])
        return True

    def step(self) -> dict[str, Any]:
        events = self._runner.slice(run.SLICE_SECONDS)
        return {"events": events, "done": self._runner.done}

    def cleanup(self) -> None:
        self._runner.close()


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


class Driver(tune.Callback):
    """Tune's events to the dispatch, signals to a clean stop."""

    def __init__(self, dispatch: run.Dispatch, board: Board, slots: int) -> None:
        self._dispatch, self._board, self._slots = dispatch, board, slots
        self._looked_at = time.monotonic()
        self.signalled = 0

    def __reduce__(self) -> Any:
        return (object, ())  # Tune pickles callbacks into its snapshot; connections stay here

    def suggest(self) -> Any:
        if self.signalled:
            return Searcher.FINISHED
        if len(self._dispatch.flights) >= self._slots:
            return None
        job = self._dispatch.next_job()
        if job is None and not self._dispatch.flights and self._dispatch.replan():
            job = self._dispatch.next_job()
        if job is None:
            return None if self._dispatch.flights else Searcher.FINISHED
        # Pickled once: Tune copies and encodes a trial's configuration over and over, which bytes pass through unread.
        return {"id": job.id, "job": pickle.dumps(job), "learner": self._dispatch.request.learner}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
        for event in result["events"]:
            self._dispatch.receive(trial.config["id"], event)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        self._dispatch.ended(trial.config["id"])
        self._forget(trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        job = trial.config["id"]
        error = str(trial.get_error() or "")
        self._dispatch.lost(job, "the worker process died (killed, or out of memory): see the system log", error)
        self._dispatch.ended(job)
        self._forget(trial)

    def _forget(self, trial: Any) -> None:
        """Tune keeps every trial for its summary: let it keep no job and no correctness bits."""
        trial.run_metadata.last_result = {}
        trial.run_metadata.metric_analysis = {}
        trial.run_metadata.metric_n_steps = {}

    def on_step_begin(self, iteration: int, trials: Any, **_: Any) -> None:
        if self.signalled:
            raise KeyboardInterrupt
        if time.monotonic() - self._looked_at >= run.BEAT_SECONDS:
            self._looked_at = time.monotonic()
            check_ray()
        self._dispatch.beat()
        self._board.tick()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first signal stops between two steps of Tune, the second at once."""
        self.signalled += 1
        if self.signalled > 1:
            raise KeyboardInterrupt


def check_ray() -> None:
    """Ray without its node manager waits for ever: end the run instead, and give its trials back."""
    if not any(node["Alive"] for node in ray.nodes()):  # type: ignore[no-untyped-call]
        raise WorkError("Ray's own process died; nothing that was reported done is lost: run again to continue")


def start_ray(workspace: Workspace, request: run.RunRequest) -> tuple[str, int]:
    """Start a Ray of our own; returns the device type and the number of trials at a time."""
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


def resources(device: str, request: run.RunRequest) -> dict[str, float]:
    """What a trial occupies: one core, or its share of a GPU."""
    return {"cpu": 1} if device == "cpu" else {"cpu": 0, "gpu": 1 / request.trials_per_gpu}


def drive(workspace: Workspace) -> int:
    """Run the workspace's request to its end and return the exit code."""
    request = read_request(workspace)
    with Store(request.database) as store:
        device, slots = start_ray(workspace, request)
        for number in SIGNALS:
            signal.signal(number, leave)  # Ray has put its own handler of SIGTERM there
        dispatch = run.Dispatch(request, store, device)
        with Board(dispatch) as board:
            driver = Driver(dispatch, board, slots)
            for number in SIGNALS:
                signal.signal(number, driver.on_signal)
            try:
                tune.run(
                    tune.with_resources(Worker, resources(device, request)),
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
            except KeyboardInterrupt:
                driver.signalled += 1
            finally:
                dispatch.release("stopped")
        return finish(dispatch, store, stopped=bool(driver.signalled))


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
    except KeyboardInterrupt:  # the second signal
        return 130
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # what follows takes a second or two and ends by itself
        ray.shutdown()
        shutil.rmtree(workspace.root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
