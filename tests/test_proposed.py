"""The commands that `watch`, `stop`, `status`, `show` and `retry` propose: those with which a run goes on as it was."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TINY
from driven import ELSEWHERE, begun

from tinyablate import retries
from tinyablate.activity import options_of
from tinyablate.describe import describe_status
from tinyablate.errors import SweepError, UsageError
from tinyablate.inspection.show import show_trial
from tinyablate.looking import look, ways
from tinyablate.options import parse_seeds
from tinyablate.plan import ask, make_plan
from tinyablate.retrying import put_back
from tinyablate.run import register
from tinyablate.status import describe_runs
from tinyablate.stopping import stop
from tinyablate.store.records import Claim, NewTrial
from tinyablate.store.store import Store
from tinyablate.sweep.load import load
from tinyablate.sweep.schema import Sweep
from tinyablate.watch import watch, what_remains, whole


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    with Store(tmp_path / "a.db") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the sweep `tiny`."""
    path = tmp_path / "sweeps" / "tiny.toml"
    path.parent.mkdir()
    path.write_text(TINY + "[smoke]\nschedule.epochs = 1\n")
    return path


def known(store: Store, sweep: Sweep) -> list[NewTrial]:
    """The sweep's trials, registered as a run does."""
    plan = make_plan([ask(sweep)], {})
    register(store, plan, "")
    return [
        NewTrial(each.key, each.recipe, each.canonical, each.seed, each.fingerprint) for each in plan.trials.values()
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, ""),
        ({"seeds": (5,)}, "--seeds 5"),
        ({"seeds": (0, 1, 2, 3, 7)}, "--seeds 0-3,7"),
        ({"seeds": (3, 0, 1)}, "--seeds 3,0,1"),
        ({"seeds": tuple(range(40))}, "--seeds 0-39"),
        ({"seeds": (0, 1, 2)}, "--seeds 0-2"),
        ({"null_rows": 2}, "--null-rows 2"),
        ({"seeds": (4, 2), "null_rows": 1, "smoke": True}, "--smoke --seeds 4,2 --null-rows 1"),
        ({"seeds": (1,), "overrides": ["batch.size=25", "optimizer.lr=0.01"]},
         "--set batch.size=25 --set optimizer.lr=0.01 --seeds 1"),
    ],
)  # fmt: skip
def test_the_options_of_a_run_are_told_from_what_is_stored(
    store: Store, file: Path, asked: dict[str, object], words: str
) -> None:
    """They make the same sweep again, whatever was asked for."""
    sweep = load(file, **asked)  # type: ignore[arg-type]
    known(store, sweep)
    (way,) = ways(store, "tiny")
    assert " ".join(options_of(way)) == words
    again = dict(zip(way.given[::2], way.given[1::2], strict=True))
    seeds, null_rows = parse_seeds(again.get("--seeds")), int(again.get("--null-rows", 0))
    overrides = way.overrides.split("\n") if way.overrides else ()
    assert load(file, smoke=way.smoke, overrides=overrides, seeds=seeds, null_rows=null_rows).digest == sweep.digest


def test_a_null_row_of_the_files_own_is_told_apart(store: Store, file: Path) -> None:
    """Its label is that of rows of --null-rows, which are counted without it; seeds downwards are found too."""
    file.write_text(f'{TINY}[[rows]]\nlabel = "Default, other seeds"\nseeds = [100, 101, 102]\n')
    known(store, load(file, null_rows=2))
    known(store, load(file, seeds=tuple(range(9, -1, -1)), null_rows=1))
    found = {" ".join(options_of(way)) for way in ways(store, "tiny")}
    assert found == {"--null-rows 2", "--seeds 9,8,7,6,5,4,3,2,1,0 --null-rows 1"}


def test_every_command_that_is_proposed_has_them(store: Store, file: Path) -> None:
    """A run with --seeds goes on, is put back, is shown and is told apart from the run without."""
    plain, other = known(store, load(file)), known(store, load(file, seeds=(5,)))
    store.owner = ELSEWHERE
    store.enter("tiny", None)
    failed = begun(store, other[0])
    assert store.fail(failed, retries.DATA, "", "")
    begun(store, other[1])
    seen = look(store)
    assert seen.total == len(other)
    assert what_remains(seen, (), ["--db", "x.db"])[-2:] == [
        "next: tinyablate retry tiny --seeds 5 --db x.db",
        "next: tinyablate run tiny --seeds 5 --db x.db",
    ]
    where = str(store.location.path)
    assert "tiny --seeds 5: data 1; next: tinyablate retry tiny --seeds 5\n" in describe_runs(where, None)
    assert "then `tinyablate retry tiny --seeds 5`" in show_trial(where, other[0].key, why=True)
    assert "nobody has begun it; `tinyablate run tiny` does" in show_trial(where, plain[0].key, why=True)
    (line,) = (line for line in describe_status(where, "tiny").splitlines() if "--seeds 5" in line)
    assert line.split()[-3:] == ["1", "1", "1"]  # failed, running, pending


def test_retry_names_the_ways_in_which_a_sweep_was_run(store: Store, file: Path) -> None:
    """Where it was not run as it is asked for; and what else has failed where nothing of that has."""
    where, more = str(store.location.path), ["--db", "x.db"]
    with pytest.raises(UsageError, match=r"^tiny: was never run with this database, so nothing of it has failed$"):
        put_back(where, "tiny", [load(file)], "failed", more)
    trials = known(store, load(file, overrides=["batch.size=25"], seeds=(7,)))
    assert store.fail(begun(store, trials[0]), retries.DATA, "", "")
    told = "tinyablate retry tiny --set batch.size=25 --seeds 7 --db x.db"
    with pytest.raises(UsageError, match=f"^tiny: was run with this database, but not so; as it was run:\n{told}$"):
        put_back(where, "tiny", [load(file)], "failed", more)
    known(store, load(file))
    assert put_back(where, "tiny", [load(file)], "failed", more).others == (told,)
    assert put_back(where, "tiny", [load(file, overrides=["batch.size=25"], seeds=(7,))], "failed").put_back == 1


def test_an_edited_file_is_proposed_once(store: Store, file: Path) -> None:
    """Of the versions that it had, only the one that is run, or was run last; its trials alone are counted."""
    known(store, load(file))
    file.write_text(TINY.replace("seeds = [0, 1, 2]", "seeds = [0, 1]"))
    known(store, load(file))
    seen = look(store, "tiny")
    assert seen.total == 6
    assert what_remains(seen, (), []) == [
        "tiny: 0 of 6 trials done · 0 running · 6 pending", "next: tinyablate run tiny",
    ]  # fmt: skip


def test_the_counts_of_two_runs_add_up(store: Store, file: Path) -> None:
    """Two drivers of one sweep: the trials of both are counted, all the time, and one that is killed counts no more."""
    with Store(str(store.location.path)) as second:
        other = load(file, seeds=(5, 6))
        runs = ((store, load(file), "elsewhere.example:1:1"), (second, other, "elsewhere.example:2:2"))
        trials = []
        for of, sweep, owner in runs:
            of.owner = owner
            trials.append(known(of, sweep))
            of.enter("tiny", None)
        assert look(store).total == 9 + 6
        first, last = begun(store, trials[0][0]), begun(second, trials[1][0])
        seen = look(store)
        assert (len(seen.running), seen.pending, seen.total) == (2, 13, 15)
        store.release(first, retries.STOPPED)
        assert look(store).total == 15
        with store.backend.transaction() as connection:
            connection.exec_driver_sql(f"UPDATE stored_trials SET lease_until = 0 WHERE id = {last.trial_id}")
        seen = look(store)
    assert (len(seen.running), seen.pending, seen.total) == (0, 15, 15)
    text = describe_status(str(store.location.path), None)
    assert "running now" not in text
    assert "state running, its driver is gone · " in show_trial(str(store.location.path), trials[1][0].key)
    assert [line.split()[-1] for line in text.splitlines()[1:3]] == ["9", "6"]
    assert put_back(str(store.location.path), "tiny", [other], "failed").running == 0


def test_a_driver_that_has_begun_nothing_is_starting(store: Store, file: Path) -> None:
    """For the time that Ray and its workers take; then, and once it has begun an attempt, it only has none."""
    trials = known(store, load(file))
    store.owner = ELSEWHERE
    store.enter("tiny", None)
    seen = look(store)
    assert whole(seen)[-1] == "  the driver is starting: it has begun no attempt yet"
    assert whole(dataclasses.replace(seen, at=seen.at + 1000))[-1] == "  no attempt is under way"
    store.release(begun(store, trials[0]), retries.STOPPED)
    assert whole(look(store))[-1] == "  no attempt is under way"


EVIL = "x\ndriver forged\r\x1b[2Jforged\x85forged\u2028forged\u202e"


def left(where: str, owner: str, claim: Claim) -> None:
    """The driver stops, as another process of it would."""
    with Store(where) as store:
        store.owner = owner
        store.release(claim, retries.STOPPED)
        store.leave()


def test_stored_texts_stay_on_their_lines(store: Store, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A driver's name, host and log, a label, a cause, a sweep's name begin no line; those of messages are indented."""
    store.owner = f"{EVIL}:1:1"
    file.write_text(TINY.replace('"Default"', '"x\\ndriver forged\\u0085forged"'))
    trials = known(store, dataclasses.replace(load(file), name=EVIL))
    store.enter(EVIL, EVIL)
    assert store.fail(begun(store, trials[0]), EVIL, f"{EVIL}\n{EVIL}", f"{EVIL}\n{EVIL}")
    running = begun(store, trials[1])
    where = str(store.location.path)
    texts = [describe_status(where, None), describe_runs(where, None)]
    texts += [show_trial(where, each.key, why=True) for each in trials[:2]]
    leaving = threading.Timer(0.5, lambda: left(where, store.owner, running))
    leaving.start()
    assert watch(where) == 1
    leaving.join()
    texts.append(capsys.readouterr().out)
    for text in texts:
        assert "driver forged" in text
        assert [line for line in text.splitlines() if line.startswith(("driver forged", "forged"))] == []
    with pytest.raises(UsageError) as refused:
        look(store, "else")
    assert "\n" not in str(refused.value)


def test_stop_says_whom_it_asks_on_one_line(store: Store, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the driver's name and host are somebody's trap; and what it proposes is for this database."""
    store.owner = f"{EVIL}:1:1"
    known(store, load(file))
    store.enter(f"tiny\n{EVIL}", None)
    stop(str(store.location.path), wait=False, more=["--db", "x.db"])
    asked, then = capsys.readouterr().err.splitlines()
    assert asked.startswith("asked x driver forged")
    assert then == "asked to stop; tinyablate watch --db x.db shows when they have"


def test_a_label_begins_no_line_of_an_error(file: Path) -> None:
    """What is wrong with a sweep file is told a line each, whatever its labels hold; the label itself is allowed."""
    file.write_text(TINY.replace('"EMA"\nset', '"EMA\\nerror: forged\\u001b"\nlable = 1\nset'))
    with pytest.raises(SweepError) as refused:
        load(file)
    (problem,) = refused.value.problems
    assert problem.isprintable()
    assert 'rows[2] "EMA error: forged ".lable = 1: unknown key' in problem
