"""What a run promises, put under siege at a size for every day; the same sieges at full size are in tests/soak."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from reliability import outages
from reliability.kills import finish, kill_drivers
from reliability.siege import Place, besieged, chance, short_sweep
from servers import PostgresServer

SLOW, NOOP = "analytic:slow", "analytic:noop"
TRIALS = 4

Besiege = Callable[..., Place]


@pytest.fixture
def besiege(tmp_path: Path, shapes: Path, shared: Path) -> Iterator[Besiege]:
    """Make places under siege of a sweep; all that runs there is ended afterwards."""
    with ExitStack() as stack:

        def make(sweep: str, **more: Any) -> Place:
            folder = tmp_path / f"p{len(list(tmp_path.iterdir()))}"
            return stack.enter_context(besieged(folder, shapes, shared / "cache", sweep, **more))

        yield make


@pytest.fixture(scope="module")
def unbroken(new_cli: Callable[[str], Cli]) -> str:
    """The table of four analytic trials, computed without disturbance."""
    return undisturbed(new_cli("unbroken"), TINYABLATE_LEARNER=NOOP)


@pytest.fixture(scope="module")
def real(new_cli: Callable[[str], Cli]) -> str:
    """The table of four trainings, computed without disturbance."""
    return undisturbed(new_cli("real"))


def undisturbed(cli: Cli, **environment: str) -> str:
    """The table that the inline launcher prints."""
    cli.write(short_sweep(TRIALS), "s")
    return cli("run", "s", "--launcher", "inline", "--format", "csv", **environment).stdout


def test_killed_drivers_of_real_trainings(besiege: Besiege, real: str) -> None:
    """Drivers, alone or with all that they started, die at random moments of real trainings: each result is there once,
    and bit for bit that of a run that nothing disturbed."""
    place = besiege(short_sweep(TRIALS))
    killed = kill_drivers(place, chance(7), 2, TRIALS, 2.0, "--launcher", "inline")
    killed += kill_drivers(place, chance(8), 2, TRIALS, 2.0)
    assert killed.kills >= 2
    finish(place, TRIALS, real)


def test_killed_workers(besiege: Besiege, unbroken: str) -> None:
    """Workers that die or are told to end cost a trial another attempt, in the same run, and nothing else."""
    place = besiege(short_sweep(TRIALS), learner=SLOW)
    assert outages.kill_workers(place, chance(1), 0.3, 0.3).total()
    assert place.check(TRIALS, place.printed, unbroken).attempts > TRIALS


@pytest.mark.parametrize("back_end", ["sqlite", "postgresql"])
def test_a_driver_that_stood_still(besiege: Besiege, unbroken: str, postgres: PostgresServer, back_end: str) -> None:
    """Its lease ends while it stands still, another driver takes over; when it goes on neither crashes, one counts.

    With all of its Ray on SQLite, as one process on PostgreSQL.
    """
    database = postgres.url("stood") if back_end == "postgresql" else ""
    place = besiege(short_sweep(TRIALS), learner=SLOW, database=database)
    outages.stop_driver(place, *(["--launcher", "inline"] if database else ["--slots", "1"]))
    assert place.check(TRIALS, place.printed, unbroken).superseded >= 1


def test_a_worker_that_stood_still(besiege: Besiege, unbroken: str) -> None:
    """Its driver keeps the lease meanwhile: a second driver takes the rest, and no trial is computed twice."""
    place = besiege(short_sweep(TRIALS), learner=SLOW)
    outages.stop_worker(place, 3.0)
    assert place.check(TRIALS, place.printed, unbroken).attempts == TRIALS


@pytest.mark.parametrize("learner", ["", SLOW], ids=["checkpoint", "commit"])
def test_a_full_disk(besiege: Besiege, real: str, unbroken: str, learner: str) -> None:
    """No room for a checkpoint, or for a result: the run ends and says so; with room again the next one finishes."""
    place = besiege(short_sweep(TRIALS), learner=learner)
    try:
        with outages.small_disk(place.file.parent, 40):
            assert "no room" in outages.fill_disk(place, "--launcher", "inline")
            finish(place, TRIALS, unbroken if learner else real, "--launcher", "inline")
    except PermissionError as error:
        pytest.skip(f"no file system may be mounted here: {error}")


def test_a_killed_server(besiege: Besiege, unbroken: str, postgres: PostgresServer) -> None:
    """PostgreSQL dies and comes back in the middle of a sweep: the driver waits, no trial is computed twice."""
    place = besiege(short_sweep(TRIALS), learner=SLOW, database=postgres.url("killed"))
    killed, _ = outages.kill_server(place, chance(1), postgres, 1)
    assert killed == 1
    assert place.check(TRIALS, place.printed, unbroken).attempts == TRIALS


@pytest.mark.parametrize("back_end", ["sqlite", "postgresql"])
def test_two_drivers_at_once(besiege: Besiege, unbroken: str, postgres: PostgresServer, back_end: str) -> None:
    """Started within the same second on a database that is not there yet, they share the trials: none is run twice."""
    rng = chance(1)
    for number in range(1 if back_end == "postgresql" else 2):
        database = postgres.url(f"race{number}") if back_end == "postgresql" else ""
        place = besiege(short_sweep(TRIALS), learner=NOOP, database=database)
        outages.race(place, rng, "--launcher", "inline")
        assert finish(place, TRIALS, unbroken).attempts == TRIALS


def test_a_detached_run_is_stopped(besiege: Besiege, unbroken: str) -> None:
    """`tinyablate stop` ends it and waits for it; nothing is left behind, and the next run finishes."""
    place = besiege(short_sweep(TRIALS), learner=SLOW)
    outages.stop_run(place, chance(1), "stop", 0.5)
    finish(place, TRIALS, unbroken, "--launcher", "inline")


def test_code_that_is_edited_during_a_run(besiege: Besiege, unbroken: str, tmp_path: Path) -> None:
    """Whatever happens to the checkout, a run goes on with the code that it began with, also in new workers."""
    place = besiege(short_sweep(TRIALS), learner=SLOW, code=outages.copy_of_code(tmp_path / "checkout"))
    outages.edit_code(place)
    assert place.check(TRIALS, place.printed, unbroken).attempts > TRIALS
