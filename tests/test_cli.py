"""The command line as scripts and people meet it: exit codes, where output goes, JSON shapes, wrong input."""

import csv
import dataclasses
import io
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Cli

from tinyablate.store.schema import SCHEMA_VERSION

NOOP = {"TINYABLATE_LEARNER": "analytic:noop"}
COMMANDS = [
    "sweeps", "copy", "plan", "run", "status", "watch", "stop", "retry", "table", "figure", "query", "schema", "show",
    "diff", "backup", "data", "doctor",
]  # fmt: skip


@pytest.fixture(scope="module")
def ran(new_cli: Callable[[str], Cli]) -> Cli:
    """A folder in which the small sweep was run, all trials complete: for reading."""
    cli = new_cli("ran")
    cli.write()
    cli("run", "tiny", "--launcher", "inline", **NOOP)
    return cli


@pytest.fixture
def ran_copy(ran: Cli, tmp_path: Path) -> Cli:
    """A copy of that folder, for damage."""
    return dataclasses.replace(ran, folder=shutil.copytree(ran.folder, tmp_path / "copy"))


def test_every_command_has_help_and_stands_in_the_readme(cli: Cli) -> None:
    """--help lists the commands of the contract, each explains itself, and the README shows each."""
    overview = cli("--help").stdout
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S", overview, re.M), command
        assert len(cli(command, "--help").stdout.splitlines()) > 4
        assert f"tinyablate {command}" in readme, f"README does not show `tinyablate {command}`"


def test_sweeps_lists_local_and_bundled(cli: Cli) -> None:
    """Sweeps come as name and title; local ones are found in ./sweeps."""
    cli.write()
    found = {entry["name"]: entry["title"] for entry in cli.json("sweeps")}
    assert found["tiny"] == "A small sweep"
    assert {"demo/ablation", "huynh2022/models"} <= set(found)


def test_a_copied_sweep_runs(cli: Cli) -> None:
    """copy brings the sweep and what it extends; the copy has the same trials as the bundled one."""
    bundled = cli.json("plan", "demo/ablation")
    copied = cli("copy", "demo/ablation").stdout.split()
    assert [Path(path).name for path in copied] == ["ablation.toml", "recipe.toml"]
    assert cli.json("plan", "sweeps/demo/ablation.toml")["trials"] == bundled["trials"] == 48
    assert "is not a folder" in cli("copy", "huynh2022/models", "sweeps/demo/ablation.toml", code=2).stderr
    Path(cli.folder / copied[0]).write_text("title = 'mine'\n")
    assert "not overwritten" in cli("copy", "demo/ablation", code=2).stderr
    assert Path(cli.folder / copied[0]).read_text() == "title = 'mine'\n"


def test_plan_json_shape(cli: Cli) -> None:
    """plan --format json has the counts and a line per cell, on stdout alone."""
    cli.write()
    plan = cli.json("plan", "tiny")
    assert {key: plan[key] for key in ("trials", "new", "done", "jobs")} == {
        "trials": 9,
        "new": 9,
        "done": 0,
        "jobs": 6,
    }
    assert [row["label"] for row in plan["rows"]] == ["Default", "No decay", "EMA"]
    assert not (cli.folder / "results").exists(), "plan must change nothing"


def test_table_json_shape(ran: Cli) -> None:
    """table --format json has exactly the fields that scripts rely on."""
    (row, *_) = ran.json("table", "tiny")["rows"]
    (cell,) = row["cells"]
    assert row["label"] == "Default"
    assert {"column", "mean", "sd", "n", "n_planned", "delta", "state", "published"} <= set(cell)
    assert (cell["n"], cell["n_planned"], cell["state"], cell["delta"]) == (3, 3, "complete", None)


def test_table_numbers_are_those_of_the_database(ran: Cli) -> None:
    """Mean, sd and paired difference follow from what query prints."""
    import statistics

    rows = ran.sql("SELECT seed, optimizer_weight_decay AS wd, ema_decay AS ema, last_val_top1 AS v FROM trials")
    default = [row["v"] for row in rows if row["wd"] and not row["ema"]]
    other = [row["v"] for row in rows if not row["wd"]]
    first, second, _ = ran.json("table", "tiny")["rows"]
    assert first["cells"][0]["mean"] == pytest.approx(statistics.mean(default))
    assert first["cells"][0]["sd"] == pytest.approx(statistics.stdev(default))
    assert second["cells"][0]["delta"] == pytest.approx(statistics.mean(other) - statistics.mean(default))


@pytest.mark.parametrize("format_", ["terminal", "markdown", "csv", "json"])
def test_tables_go_to_stdout_alone(ran: Cli, format_: str) -> None:
    """Each format prints the rows on stdout and nothing on stderr, the same bytes each time."""
    done = ran("table", "tiny", "--format", format_)
    assert "No decay" in done.stdout
    assert done.stderr == ""
    assert ran("table", "tiny", "--format", format_).stdout == done.stdout


def test_query_formats(ran: Cli) -> None:
    """The same answer as table, csv, json and markdown."""
    sql = "SELECT state, count(*) AS n FROM trials GROUP BY 1"
    assert ran("query", sql).stdout.split() == ["state", "n", "complete", "9"]
    assert list(csv.reader(io.StringIO(ran("query", sql, "--format", "csv").stdout))) == [
        ["state", "n"],
        ["complete", "9"],
    ]
    assert ran.sql(sql) == [{"state": "complete", "n": 9}]
    assert ran("query", sql, "--format", "markdown").stdout.splitlines()[1] == "| --- | --- |"


def test_status_counts_by_sweep(ran: Cli) -> None:
    """status shows the sweep with its states; a sweep that was never run is named as such."""
    assert re.search(r"tiny .* 9", ran("status").stdout)
    assert "never run" in ran("status", "demo/ablation", code=2).stderr


def test_show_one_trial(ran: Cli) -> None:
    """show prints recipe, cell and attempt; an ambiguous or unknown key is refused."""
    key = ran.sql("SELECT trial FROM trials WHERE ema_decay > 0 AND seed = 1")[0]["trial"]
    shown = ran("show", key[:12]).stdout
    assert key in shown
    assert "fills tiny: EMA" in shown
    assert "against tiny: Default\n  ema.decay: 0 -> 0.9" in shown
    assert re.search(r"^  ema.decay += 0.9$", ran("show", key[:12], "--recipe").stdout, re.M)
    assert "attempt 1: complete (counts)" in shown
    assert "keys begin so" in ran("show", "", code=2).stderr
    assert "no trial's key begins so" in ran("show", "zzz", code=2).stderr


def test_doctor_is_content_with_a_healthy_machine(ran_copy: Cli) -> None:
    """doctor reports versions, integrity and data; a damaged database is a problem and exit code 1."""
    assert "integrity ok" in ran_copy("doctor").stdout
    path = ran_copy.folder / "results" / "ablations.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 : 4096 * 12] = b"\xa5" * (4096 * 9)
    path.write_bytes(damaged)
    assert "PROBLEM" in ran_copy("doctor", code=1).stdout


def test_data_commands(cli: Cli) -> None:
    """data list and verify speak of the prepared set; a flipped byte is found; an unknown name has its nearest."""
    listed = {entry["name"]: entry["prepared"] for entry in cli.json("data", "list")}
    assert listed == {"shapes": True, "tiny-imagenet": False, "imagenet-1k": False}
    assert "as its manifest says" in cli("data", "verify", "shapes").stdout
    assert "did you mean 'shapes'" in cli("data", "verify", "shape", code=2).stderr
    assert "tinyablate data prepare tiny-imagenet" in cli("data", "verify", "tiny-imagenet", code=2).stderr


def test_missing_data_names_the_command(cli: Cli) -> None:
    """A sweep whose data set was not prepared says how to prepare it, before anything starts."""
    cli.write(TINY.replace('"shapes"', '"tiny-imagenet"'))
    err = cli("run", "tiny", code=2).stderr
    assert "tiny-imagenet" in err
    assert "tinyablate data prepare tiny-imagenet" in err


def test_missing_weights_say_what_to_download(cli: Cli) -> None:
    """Without a network and without a file, pretrained weights are refused with repository, file and folder."""
    text = TINY.replace("pretrained = false", "pretrained = true").replace("test_resnet", "test_vit.r160_in1k")
    cli.write(text + ROW + 'set.model.name = "test_vit"\n')
    assert "'test_vit.r160_in1k'" in cli("plan", "tiny", code=2).stderr
    cli.write(text)
    assert "no such directory" in cli("run", "tiny", "--weights-dir", "weights", code=2).stderr
    (cli.folder / "weights").mkdir()
    err = cli("run", "tiny", "--weights-dir", "weights", code=2, HF_HUB_OFFLINE="1").stderr
    assert "timm/test_vit.r160_in1k" in err
    assert "tried weights: no test_vit.r160_in1k" in err
    assert "DIR/test_vit.r160_in1k.safetensors" in err
    assert "TINYABLATE_WEIGHTS" in err


ROW = '[[rows]]\nlabel = "Bad"\n'

WRONG = {
    "unknown field": (
        TINY + ROW + "set.mix.mixpu_alpha = 1.0\n",
        ["mix.mixpu_alpha", "did you mean 'mix.mixup_alpha'"],
    ),
    "wrong type": (TINY + ROW + 'set.optimizer.lr = "1e-4"\n', ["optimizer.lr", '"1e-4"', "number"]),
    "true for a number": (TINY + ROW + "set.mix.mixup_alpha = true\n", ["mix.mixup_alpha", "true", "number"]),
    "negative lr": (TINY + ROW + "set.optimizer.lr = -1\n", ["optimizer.lr", "-1", "above 0"]),
    "nan lr": (TINY + ROW + "set.optimizer.lr = nan\n", ["optimizer.lr", "nan", "finite"]),
    "no epochs": (TINY + ROW + "set.schedule.epochs = 0\n", ["schedule.epochs", "at least 1"]),
    "unknown model": (TINY.replace("test_resnet", "test_resnett"), ["model.name", "test_resnett", "did you mean"]),
    "unknown data set": (TINY.replace('"shapes"', '"shape"'), ["data.name", '"shape"', "did you mean 'shapes'"]),
    "unknown metric": (TINY.replace('"val_top1"', '"val_top"'), ["metric", "val_top", "did you mean 'val_top"]),
    "changes nothing": (TINY + ROW + "set.ema.decay = 0.0\n", ["Bad", "changes nothing", "ema.decay"]),
    "same trial": (TINY + ROW + "set.ema.decay = 0.9\n", ["Bad", "EMA", "same"]),
    "duplicate label": (TINY + '[[rows]]\nlabel = "EMA"\nset.loss.smoothing = 0.1\n', ["EMA", "label"]),
    "no seeds": (TINY.replace("[0, 1, 2]", "[]"), ["seeds"]),
    "empty grid": (TINY.split("[[rows]]")[0] + "[grid]\n", ["grid"]),
    "empty axis": (TINY.split("[[rows]]")[0] + '[grid]\n"optimizer.lr" = []\n', ["optimizer.lr", "empty"]),
    "uneven zip": (
        TINY.split("[[rows]]")[0] + '[zip]\n"optimizer.lr" = [0.1, 0.2]\n"batch.size" = [50]\n',
        ["zip", "2", "1"],
    ),
    "exclude everything": (
        TINY + '[[exclude]]\nwhere = { "batch.size" = 50 }\nreason = "all"\n',
        ["exclude", "nothing"],
    ),
    "extends itself": ('extends = "tiny.toml"\n' + TINY, ["tiny.toml", "extends"]),
    "extends nothing": ('extends = "gone.toml"\n' + TINY, ["gone.toml"]),
    "syntax": (TINY + "[[rows\n", ["line 21"]),
    "empty file": ("", ["empty"]),
    "odd batch": (TINY + ROW + "set.mix.mixup_alpha = 0.2\nset.batch.size = 51\n", ["batch.size", "51", "even"]),
    "unknown policy": (TINY + ROW + 'set.augment.policy = "randd-m9"\n', ["augment.policy", "randd-m9", "'rand"]),
    "empty hold-out": (
        TINY + ROW + 'set.evaluate.split = "train[99.99%:]"\nset.data.split = "train[:50%]"\n',
        ["evaluate.split = 'train[99.99%:]'", "no image of a class of 400"],
    ),
    "padding": (
        TINY + ROW + 'set.augment = { crop = "src", crop_padding = 32 }\n',
        ["crop_padding = 32", "at most 31"],
    ),
    "overlap": (TINY + ROW + 'set.evaluate.split = "train[99%:]"\n', ["evaluate.split", "overlaps", "data.split"]),
    "later level": (TINY + ROW + 'set.loss.name = "bce"\n', ["loss.name", "does not work yet"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_get_one_clear_error(cli: Cli, case: str) -> None:
    """Each mistake in a sweep file exits 2 with file, path, value and cure, before anything is trained or written."""
    text, parts = WRONG[case]
    cli.write(text)
    done = cli("run", "tiny", code=2)
    assert "tiny.toml" in done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr
    assert done.stdout == ""
    assert not list(cli.folder.glob("results/*.trials")), "something was started"


def test_unreadable_files(cli: Cli) -> None:
    """A file that is not UTF-8, a folder and a name that is no sweep are each refused."""
    path = cli.write()
    path.write_bytes(b"title = '\xff\xfe'\n")
    assert "UTF-8" in cli("plan", "tiny", code=2).stderr
    assert "sweeps" in cli("plan", "sweeps", code=2).stderr
    assert "did you mean 'demo/ablation'" in cli("plan", "demo/ablaton", code=2).stderr


@pytest.mark.parametrize("command", ["plan", "run", "table", "status", "query"])
def test_unusable_databases(cli: Cli, command: str) -> None:
    """Garbage in place of the database, and a database of a newer version, are refused by every command."""
    cli.write()
    words = {"status": [], "query": ["SELECT * FROM trials"]}.get(command, ["tiny"])
    garbage = cli.folder / "garbage.db"
    garbage.write_bytes(b"no database " * 400)
    assert "database" in cli(command, *words, "--db", str(garbage), code=2).stderr
    assert "is a folder" in cli(command, *words, "--db", str(cli.folder), code=2).stderr


def test_a_newer_database_names_both_versions(ran_copy: Cli) -> None:
    """A database of a newer tinyablate is refused with both versions and the command."""
    with sqlite3.connect(ran_copy.folder / "results" / "ablations.db") as connection:
        connection.execute("INSERT INTO schema_version VALUES (7, 0, '9.0')")
    err = ran_copy("table", "tiny", code=2).stderr
    assert "version 7" in err
    assert f"up to {SCHEMA_VERSION}" in err
    assert "pip install --upgrade tinyablate" in err


def test_micro_batch_with_batchnorm_is_refused(cli: Cli) -> None:
    """A micro-batch that would change the numbers is refused at plan, by name; without BatchNorm it is fine."""
    cli.write()
    err = cli("plan", "tiny", "--micro-batch", "10", code=2).stderr
    assert "--micro-batch 10" in err
    assert "test_resnet" in err
    assert "BatchNorm" in err
    cli.write(TINY.replace("test_resnet", "test_vit"))
    cli("plan", "tiny", "--micro-batch", "10")
    assert "larger than batch.size" in cli("plan", "tiny", "--micro-batch", "64", code=2).stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["plan"], "SWEEP"),
        (["plan", "tiny", "--seeds", "a"], "--seeds a"),
        (["plan", "tiny", "--seeds", "1,1"], "twice"),
        (["plan", "tiny", "--set", "optimizer.lrr=1"], "optimizer.lr"),
        (["plan", "tiny", "--set", "optimizer.lr"], "write path=value"),
        (["plan", "tiny", "--set", "optimizer.lr=fast"], "optimizer.lr"),
        (["plan", "tiny", "--format", "yaml"], "yaml"),
        (["run", "tiny", "--slots", "0"], "--slots"),
        (["plan", "tiny", "--smoke"], "[smoke]"),
        (["pln"], "did you mean 'plan'"),
        (["data", "prepare", "imagenet"], "imagenet"),
        (["query", "DROP TABLE trials"], "no such database"),
        (["table", "tiny"], "no such database"),
        (["plan", "tiny", "--db", "postgresql://a:b%00c@127.0.0.1:1/d"], "holds a NUL character (%00)"),
        (["plan", "tiny", "--db", "mysql://a:b@c/d"], "--db mysql://…: not a database that tinyablate knows"),
    ],
)
def test_wrong_arguments_exit_2(cli: Cli, words: list[str], part: str) -> None:
    """A wrong argument is named, with exit code 2 and nothing on stdout."""
    cli.write()
    done = cli(*words, code=2)
    assert part in done.stderr
    assert done.stdout == ""


def test_a_server_that_is_down_is_a_failure(cli: Cli) -> None:
    """Nothing is wrong with the argument, as far as can be told: exit code 1."""
    cli.write()
    err = cli("plan", "tiny", "--db", "postgresql://a:b@127.0.0.1:1/d", code=1).stderr
    assert err.startswith("error: postgresql://a@127.0.0.1:1/d: cannot be opened: ")
    assert err.endswith("Connection refused; is --db right, and does the server run?\n")


def test_set_changes_the_baseline_and_the_title(cli: Cli) -> None:
    """--set makes other trials, and the table that shows them says so."""
    cli.write()
    cli("run", "tiny", "--launcher", "inline", "--set", "schedule.epochs=1", **NOOP)
    plan = cli.json("plan", "tiny")
    assert (plan["new"], plan["done"]) == (9, 0)
    table = cli.json("table", "tiny", "--set", "schedule.epochs=1")
    assert "schedule.epochs" in table["title"]
    states = [cell["state"] for row in table["rows"] for cell in row["cells"]]
    assert states == ["complete"] * 3


def test_smoke_trials_are_other_trials(cli: Cli) -> None:
    """--smoke runs its own trials, and its table's title says SMOKE."""
    cli.write(TINY + "[smoke]\nschedule.epochs = 1\n")
    cli("run", "tiny", "--launcher", "inline", "--smoke", **NOOP)
    assert cli.json("plan", "tiny")["done"] == 0
    assert cli.json("plan", "tiny", "--smoke")["done"] == 3
    assert cli.json("table", "tiny", "--smoke")["title"].startswith("SMOKE")


@pytest.mark.parametrize("words", [("show", "\udcff"), ("diff", "\udcff", "a"), ("table", "\udcff")])
def test_an_argument_that_is_no_text_is_told(ran: Cli, words: tuple[str, ...]) -> None:
    """Bytes that are not UTF-8 on the command line are a mistake like another."""
    assert ran(*words, code=2).stderr.startswith("error: ")
