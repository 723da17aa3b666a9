"""Which file a sweep's name means, copying, and that every bundled sweep is sound."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinyablate import bundled, policies
from tinyablate.errors import SweepError
from tinyablate.identity import differences
from tinyablate.sweep.load import load, read_heading

NAMES = ("demo/ablation", "huynh2022/ablation", "huynh2022/models", "huynh2022/reproduction")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory, so that ./sweeps is not the checkout's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path, title="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"title = '{title}'\nseeds = [0]\nbaseline.model.name = 'm'\n[[rows]]\nlabel = 'A'\n")
    return path


def test_folders_exist():
    """Sweeps and worker programs are found from the package."""
    assert (bundled.sweeps_folder() / "demo" / "ablation.toml").is_file()
    assert bundled.workers_folder().name == "workers"
    assert bundled.workers_folder().is_dir()


def test_names_leave_recipes_out_and_put_local_sweeps_first(elsewhere):
    """Names are those of ./sweeps and the bundled ones; recipe files are none."""
    assert bundled.names() == NAMES
    _write(elsewhere / "sweeps" / "mine" / "a.toml")
    _write(elsewhere / "sweeps" / "mine" / "recipe.toml")
    _write(elsewhere / "sweeps" / "demo" / "ablation.toml")
    assert bundled.names() == ("demo/ablation", "mine/a", *NAMES[1:])


def test_resolve_prefers_the_path_then_the_local_folder_then_the_bundle(elsewhere):
    """A path is itself; a name is looked for in ./sweeps, then among the bundled."""
    path = _write(elsewhere / "some.toml")
    assert bundled.resolve(str(path)) == path
    assert bundled.resolve("some.toml") == Path("some.toml")
    assert bundled.resolve("demo/ablation") == bundled.sweeps_folder() / "demo" / "ablation.toml"
    _write(elsewhere / "sweeps" / "demo" / "ablation.toml", "changed")
    assert load(bundled.resolve("demo/ablation")).title == "changed"
    assert load(bundled.resolve("demo/ablation")).name == "demo/ablation"


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        (
            "demo/ablatoin",
            "demo/ablatoin: no such sweep; did you mean 'demo/ablation'? (`tinyablate sweeps` lists them)",
        ),
        ("xyz", "xyz: no such sweep (`tinyablate sweeps` lists them)"),
        ("huynh2022", "huynh2022: is a folder of sweeps; name one of 'huynh2022/ablation', 'huynh2022/models'"),
        ("huynh2022/", "huynh2022/: is a folder of sweeps; name one of 'huynh2022/ablation', 'huynh2022/models'"),
        ("huynh2022/recipe", "huynh2022/recipe: no such sweep"),
        ("mine.tml", "mine.tml: is no sweep file; its name would end in .toml"),
        ("mien.toml", "mien.toml: no such file; did you mean 'mine.toml'?"),
        ("demo/ablation.toml", "demo/ablation.toml: no such file; did you mean 'demo/ablation'?"),
        ("recipe.toml", "recipe.toml: holds only the recipe that other files extend"),
        ("folder.toml", "folder.toml: is a directory"),
    ],
)
def test_unknown_sweep_is_refused_with_the_nearest(argument, problem, elsewhere):
    """A name or path that means no sweep says what would."""
    _write(elsewhere / "mine.toml")
    _write(elsewhere / "mine.tml")
    _write(elsewhere / "recipe.toml")
    (elsewhere / "folder.toml").mkdir()
    with pytest.raises(SweepError) as caught:
        bundled.resolve(argument)
    assert str(caught.value).startswith(problem)


def test_copy_takes_the_recipe_along_and_overwrites_nothing(elsewhere):
    """The copy loads as it is; copying again changes nothing; an edited file is not overwritten."""
    dest = elsewhere / "sweeps"
    written = bundled.copy("huynh2022/models", dest)
    assert written == [dest / "huynh2022" / "models.toml", dest / "huynh2022" / "recipe.toml"]
    assert load(written[0]).digest == load(bundled.sweeps_folder() / "huynh2022" / "models.toml").digest
    assert bundled.copy("huynh2022/models", dest) == []
    written[1].write_text("# mine\n")
    written[0].unlink()
    with pytest.raises(SweepError, match=r"recipe\.toml: exists and differs; it is not overwritten"):
        bundled.copy("huynh2022/models", dest)
    assert written[1].read_text() == "# mine\n"
    assert not written[0].exists()


def test_copy_of_an_unknown_sweep_is_refused(elsewhere):
    """Only bundled sweeps can be copied, by their name."""
    _write(elsewhere / "sweeps" / "mine.toml")
    with pytest.raises(SweepError, match=r"demo/ablatio: no bundled sweep; did you mean 'demo/ablation'\?"):
        bundled.copy("demo/ablatio", elsewhere / "there")
    with pytest.raises(SweepError, match="mine: no bundled sweep; valid: 'demo/ablation'"):
        bundled.copy("mine", elsewhere / "there")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_bundled_sweep_loads(name, smoke):
    """Plain and with `--smoke`, with a question, a source, and a title."""
    path = bundled.resolve(name)
    sweep = load(path, smoke=smoke)
    assert sweep.name == name
    assert sweep.question
    assert sweep.source
    assert read_heading(path)["title"] == sweep.title
    assert len(sweep.cells) == len(sweep.rows) * len(sweep.columns)


def test_every_bundled_sweep_opens_with_what_it_is():
    """Every file starts with a comment; a sweep's gives source, hardware, the command, and the override people want."""
    for path in sorted(bundled.sweeps_folder().rglob("*.toml")):
        assert path.read_text().startswith("# "), path
        if path.name != bundled.RECIPE:
            for word in ("Hardware", "Run", "Override", "tinyablate run "):
                assert word in path.read_text(), (path, word)


def test_demo_has_the_rows_that_show_what_a_table_can_say():
    """At least six seeds; a null row with seeds of its own; every other row is compared with the default."""
    sweep = load(bundled.resolve("demo/ablation"))
    assert len(sweep.rows) >= 8
    assert len(sweep.rows[0].seeds) >= 6
    assert [row.null for row in sweep.rows] == [False] * (len(sweep.rows) - 1) + [True]
    assert [row.reference for row in sweep.rows] == [None] + [0] * (len(sweep.rows) - 1)


def test_huynh_models_are_the_papers():
    """The four models and published numbers of table 2, and the reading of the released code."""
    sweep = load(bundled.resolve("huynh2022/models"))
    assert {sweep.rows[cell.row].label: cell.published["val_top1"] for cell in sweep.cells} == {
        "ViT-L/16": {"paper": 86.43, "reproduction": 86.52},
        "CaiT-S/36": {"paper": 86.74, "reproduction": 86.66},
        "DeiT-B/16 distilled": {"paper": 87.29, "reproduction": 82.52},
        "Swin-L/4": {"paper": 91.35, "reproduction": 91.32},
    }
    recipes = [cell.recipe for cell in sweep.cells]
    assert {recipe.model.trainable for recipe in recipes} == {"head"}
    assert [recipe.model.backbone_mode for recipe in recipes] == ["train", "train", "eval", "train"]
    assert {recipe.augment.erase_order for recipe in recipes} == {"after-mix"}


def test_huynh_ablation_is_the_papers():
    """The eleven rows and numbers of table 4; each but the first moves one factor off the base with RandAugment."""
    sweep = load(bundled.resolve("huynh2022/ablation"))
    assert [(sweep.rows[cell.row].label, cell.published["val_top1"]["paper"]) for cell in sweep.cells] == [
        ("Default", 91.34),
        ("Remove RandAugment", 91.35),
        ("Remove Rand-Erasing", 91.28),
        ("Add Simple Random Crop", 91.26),
        ("Remove Stochastic Depth", 91.25),
        ("Remove Label Smoothing", 91.25),
        ("Replace RandAugment with AutoAugment", 91.25),
        ("Remove Mixup", 91.11),
        ("Add Random Resized Crop", 91.06),
        ("Remove CutMix", 91.04),
        ("Add Model EMA", 90.83),
    ]
    assert sweep.baseline.augment.policy == policies.canonical("torchvision-randaugment-n2-m9")
    assert [len(differences(cell.recipe, sweep.baseline)) for cell in sweep.cells] == [0] + [1] * 10


def test_huynh_reproduction_starts_from_the_other_base():
    """Its six rows, both sources; RandAugment is added, not removed."""
    sweep = load(bundled.resolve("huynh2022/reproduction"))
    assert [tuple(cell.published["val_top1"].values()) for cell in sweep.cells] == [
        (91.32, 91.35), (91.01, 91.34), (91.03, 91.28), (91.20, 91.25), (91.14, 91.11), (91.28, 91.04),
    ]  # fmt: skip
    assert list(sweep.cells[0].published["val_top1"]) == ["reproduction", "paper"]
    assert sweep.baseline.augment.policy == policies.canonical("torchvision-randaugment-n2-m0")
    assert sweep.baseline == load(bundled.resolve("huynh2022/ablation")).cells[1].recipe


def test_installed_package_carries_sweeps_and_workers_inside(elsewhere):
    """Where the package has a folder _bundled, as in a wheel, sweeps and workers are found there."""
    package = Path(bundled.__file__).parent
    shutil.copytree(package, elsewhere / "site" / "tinyablate", ignore=shutil.ignore_patterns("__pycache__", "train"))
    inside = elsewhere / "site" / "tinyablate" / "_bundled"
    shutil.copytree(bundled.sweeps_folder(), inside / "sweeps")
    (inside / "workers").mkdir()
    code = (
        "from tinyablate import bundled as b; from tinyablate.sweep.load import load;"
        "print(b.sweeps_folder(), b.workers_folder(), load(b.resolve('huynh2022/models')).name)"
    )
    environment = {**os.environ, "PYTHONPATH": str(elsewhere / "site")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [str(inside / "sweeps"), str(inside / "workers"), "huynh2022/models"]


def test_models_of_bundled_sweeps_are_timms():
    """timm has every model named, tag included, and those of `--smoke` build at their size and classify."""
    import torch

    from tinyablate.datasets import lookup
    from tinyablate.train.model.build import build_model, check_name

    torch.set_num_threads(1)
    built = set()
    for name in NAMES:
        for cell in load(bundled.resolve(name)).cells:
            check_name(cell.recipe.model.name)
        for cell in load(bundled.resolve(name), smoke=True).cells:
            model, size = cell.recipe.model, cell.recipe.data.image_size
            classes = lookup(cell.recipe.data.name).classes
            if model.name not in built:
                module = build_model(model, image_size=size, classes=classes, seed=0, weights=None).module
                assert module(torch.zeros(2, 3, size, size)).shape == (2, classes)
            built.add(model.name)
    assert len(built) == 5
