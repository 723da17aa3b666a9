"""Sweep files and databases of strangers are data: nothing in them is run, and no name leads out of a folder."""

import ast
import functools
import json
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from reliability.life import new_trial, register
from reported import fill

import tinyablate
from tinyablate import launch, stopping
from tinyablate.cli import app
from tinyablate.errors import RecipeError, SweepError, WeightsError
from tinyablate.recipe import Model
from tinyablate.store import schema
from tinyablate.store.store import Store
from tinyablate.sweep.load import load

PACKAGE = Path(tinyablate.__file__).parent
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "workers").rglob("*.py")])

NAMES = (
    "../../../../escaped", "..", "../escaped/..", "ROOT/escaped", "a/../../../../../escaped", "~/escaped",
    "C:\\escaped", "..\\..\\escaped", "$(touch escaped)", "`touch escaped`", "; touch escaped", "| touch escaped",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.mkdir('escaped') }}",
    "{% raw %}", "${HOME}", "%(asctime)s {0.__class__}", "__import__('os').mkdir('escaped')",
    "!!python/object/apply:os.mkdir ['escaped']", "\\write18{touch escaped}", "\\input{/etc/hostname}",
    '=HYPERLINK("x")', "'; DROP TABLE sweeps; --", "line\nbreak", "\u202etxt.exe", "con", "x" * 300,
)  # fmt: skip

SWEEP = """
title = {title}
question = {title}
source = {title}
metrics = ["val_top1", "val_loss"]
seeds = [0, 1]
[baseline]
data.name = "shapes"
data.image_size = 32
model.name = "test_resnet"
model.pretrained = false
schedule.epochs = 2
batch.size = 50
[[figures]]
kind = "curves"
[[figures]]
kind = "forest"
name = "a.."
[[rows]]
label = "Default"
"""
ROW = """
[[rows]]
label = {label}
group = {label}
published.{label} = 90.0
set.optimizer.weight_decay = {decay}
"""
SWEEP_NAME = "paper/..$(touch escaped)'"


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def run(*words: str) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, words)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, deep enough that what leads out of it is still seen."""
    folder = tmp_path / "one" / "two" / "three" / "work"
    folder.mkdir(parents=True)
    (tmp_path / "one" / "precious.txt").write_text("precious")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TINYABLATE_DATA", str(tmp_path / "one"))
    return folder


@pytest.fixture
def unharmed(work: Path, tmp_path: Path) -> Iterator[None]:
    """Afterwards nothing but `results` and `out` in that folder is other than it was."""

    def others() -> dict[str, bytes]:
        at = str(work.relative_to(tmp_path))
        return {name: content for name, content in tree(tmp_path).items()
                if not name.startswith((f"{at}/results/", f"{at}/out/"))}  # fmt: skip

    (work / "sweeps" / "paper").mkdir(parents=True)
    names = [json.dumps(name.replace("ROOT", str(tmp_path))) for name in NAMES]
    rows = [ROW.format(label=name, decay=0.01 + index / 1000) for index, name in enumerate(names)]
    (work / "sweeps" / f"{SWEEP_NAME}.toml").write_text(SWEEP.format(title=names[0]) + "".join(rows))
    before = others()
    yield
    assert others() == before
    assert [name for name in tree(tmp_path) if Path(name).name == "escaped"] == []


def filled(work: Path, change: Callable[[sa.Connection], object] = lambda connection: None) -> None:
    """A database with results of the hostile sweep, and `change` made in it."""
    with Store("results/ablations.db") as store:
        fill(store, load(work / "sweeps" / f"{SWEEP_NAME}.toml"))
        with store.engine().connect() as connection:
            change(connection)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "words",
    [
        ("table", SWEEP_NAME, "--out", "out", "--caption", "--checklist"),
        ("table", "all", "--out", "out"),
        ("figure", SWEEP_NAME),
        ("report", "--out", "out"),
        ("export", "out"),
        ("diff", "Default", "..", "--sweep", SWEEP_NAME),
    ],
    ids=" ".join,
)
def test_what_a_sweep_file_says_is_text(words: tuple[str, ...], work: Path) -> None:
    """Labels, titles and file names that look like paths, commands, templates or formulas do nothing, in any output."""
    filled(work)
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)


STORED = ("../../../../escaped", "..", "/../../escaped", "a/../../../../../escaped", "ROOT/escaped", "$(touch escaped)")


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("stored", STORED)
def test_names_of_sweeps_in_a_database(stored: str, work: Path, tmp_path: Path) -> None:
    """A database, or an import, may call its sweeps what it likes: every command stays in its folder."""
    name = stored.replace("ROOT", str(tmp_path))
    filled(work, lambda connection: connection.execute(sa.update(schema.sweeps).values(name=name)))
    assert run("export", "out/first").exit_code == 0
    assert run("import", "out/first", "--db", "results/other.db").exit_code == 0
    for words in (("report", "--out", "out/report"), ("table", "all", "--out", "out/tables"), ("sweeps",), ("status",)):
        run(*words, "--db", "results/other.db") if words != ("sweeps",) else run(*words)
    assert {path.name for path in (work / "out").iterdir()} <= {"first", "report", "tables"}


def test_directories_in_a_database(work: Path, tmp_path: Path) -> None:
    """A driver continues and removes checkpoints below `*.trials` beside the database alone, whatever that says."""
    with Store("results/ablations.db") as store:
        trials = [new_trial(seed) for seed in range(len(STORED) + 2)]
        register(store, 1, trials)
        for trial, stored in zip(trials, [*STORED, "/etc", "x.trials/../../precious"], strict=True):
            (claim,) = store.claim([trial.key], "first")
            store.again(claim, "exception", "unlucky")
            ours = sa.update(schema.attempts).where(schema.attempts.c.id == claim.attempt_id)
            with store.engine().connect() as connection:
                connection.execute(ours.values(directory=stored.replace("ROOT", str(tmp_path))))
            (again,) = store.claim([trial.key], "again")
            for path in (again.directory, *again.earlier):
                folder, home = Path(os.path.normpath(path)).parent, store.home
                assert (folder.parent, folder.suffix) == (home, ".trials"), f"{stored} leads to {path}"


def test_owners_in_a_database(work: Path) -> None:
    """What is no token of ours is that of no process here: nothing is signalled, and its lease ends by time."""
    here = socket.gethostname()
    with Store("results/ablations.db") as store:
        register(store, 1, [trial := new_trial(0)])
        for owner in (f"{here}:-1:", f"{here}:0:", f"{here}:-1:1", f"{here}:x:1", "nobody", "", ":::", "\n"):
            assert not stopping.is_here(owner), owner  # kill(-1) and kill(0) would reach many processes
            store.claim([trial.key], "first")
            with store.engine().connect() as connection:
                connection.execute(sa.update(schema.trials).values(owner=owner, lease_until=1.0))
            assert not store.states([trial.key])[trial.key].live


@pytest.mark.parametrize("name", [name for name in NAMES if len(name) < 100])
def test_logs_of_detached_runs(name: str, work: Path, tmp_path: Path) -> None:
    """The log of a sweep lies in logs/, whatever the sweep is called."""
    path = launch.log_file(work / "results", name.replace("ROOT", str(tmp_path)))
    assert path.parent == work / "results" / "logs"
    assert path.resolve().parent == (work / "results" / "logs").resolve()


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('[[figures]]\nname = "../escaped"', "figures[0].name"), ('[[figures]]\nname = ".."', "figures[0].name"),
        ('[[figures]]\nname = "/tmp/escaped"', "figures[0].name"), ('[[figures]]\nname = ""', "figures[0].name"),
        ('[baseline]\ndata.name = "../escaped"', "data.name"), ('[baseline]\ndata.name = ""', "data.name"),
        ('[baseline]\ndata.name = "."', "data.name"), ('[baseline]\nloss.name = "os.system"', "loss.name"),
    ],
)  # fmt: skip
def test_names_that_become_files_are_refused(line: str, place: str, work: Path) -> None:
    """What becomes part of a path has a form of its own, and the message says where it is broken."""
    rest = '[baseline]\nmodel.name = "test_vit"\n' if "[baseline]" not in line else ""
    (work / "bad.toml").write_text(f'metric = "val_top1"\nseeds = [0]\n{line}\n{rest}[[rows]]\nlabel = "Default"\n')
    with pytest.raises(SweepError, match=place.replace("[", r"\[")):
        load(work / "bad.toml")


# ---- models, weights, checkpoints ------------------------------------------------------------------------------------


class Evil:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("escaped",)


@pytest.mark.parametrize(
    "model",
    [
        Model("test_vit", args={"checkpoint_path": "evil.pth"}),
        Model("test_vit", args={"pretrained_cfg": {"file": "evil.pth"}}),
        Model("test_vit", args={"pretrained_cfg_overlay": {"file": "evil.pth"}}),
        Model("test_vit", args={"cache_dir": ".."}),
        Model("local-dir:."),
        Model("hf-hub:evil/model"),
        Model("../../evil"),
        Model("test_vit.../evil"),
    ],
    ids=lambda model: f"{model.name} {' '.join(model.args)}",
)
def test_a_sweep_file_names_no_file_of_weights(model: Model, work: Path) -> None:
    """Neither a model's name nor its arguments make timm read a file or ask the net for one."""
    from tinyablate.train.model import build

    (work / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RecipeError, match=r"model\."):
        build.construct(model, 0, 10)
    assert not (work / "escaped").exists()


def test_weights_are_read_without_running_them(work: Path) -> None:
    """A file of pretrained weights that is a pickle of code is refused, and the code is not run."""
    from tinyablate.train.model import build

    (work / "evil.pth").write_bytes(pickle.dumps(Evil()))
    model = Model("test_vit", pretrained=True)
    with pytest.raises(WeightsError, match=r"evil\.pth: not the weights"):
        build.build_model(model, image_size=0, classes=10, seed=0, weights=work / "evil.pth")
    assert not (work / "escaped").exists()


# ---- the code itself -------------------------------------------------------------------------------------------------


@functools.cache
def calls() -> list[tuple[str, str, str]]:
    """File, function and whole text of every call in the program."""
    return [
        (path.name, ast.unparse(node.func), ast.unparse(node))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def test_checkpoints_are_loaded_as_data() -> None:
    """Every torch.load has weights_only=True, every np.load allow_pickle=False."""
    safe = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}
    found = [each for each in calls() if each[1] in safe]
    assert {function for _, function, _ in found} == set(safe)
    assert [each for each in found if safe[each[1]] not in each[2]] == []


NEVER = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "marshal.loads", "shelve.open",
    "pickle.load", "pickle.loads", "dill.loads", "cloudpickle.loads", "pd.read_pickle",
}  # fmt: skip


def test_nothing_runs_text() -> None:
    """No eval, exec, shell or unsafe reader; pickle only for what our own processes pass on privately."""
    found = [each for each in calls() if each[1] in NEVER or "shell=True" in each[2]]
    assert {(file, text.partition("(")[0]) for file, _, text in found if text != "exec('')"} == {
        ("launch.py", "pickle.loads"),  # a file in the run's own folder
        ("decoder.py", "pickle.loads"),  # shared memory of a worker and its helpers
        ("ray_tune.py", "pickle.loads"),  # a job, in the configuration that Tune hands a worker
    }
