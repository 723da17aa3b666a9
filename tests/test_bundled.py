"""Which file a sweep's name means, copying, and that every bundled sweep is sound."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinyablate import bundled, policies
from tinyablate.errors import SweepError
from tinyablate.identity import differences
from tinyablate.plan import ask, make_plan
from tinyablate.sweep.load import load, load_each, read_heading

HUYNH = (
    "ablation", "ablation_all", "adamw_grid", "batch_size", "models", "models_all", "perturbation", "reproduction",
    "sgd", "throughput",
)  # fmt: skip
NAMES = ("demo/ablation", *(f"huynh2022/{name}" for name in HUYNH))


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
        ("huynh2022", "huynh2022: is a folder of sweeps; name one of 'huynh2022/ablation', 'huynh2022/ablation_all', "),
        (
            "huynh2022/",
            "huynh2022/: is a folder of sweeps; name one of 'huynh2022/ablation', 'huynh2022/ablation_all', ",
        ),
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


def test_a_path_of_a_folder_means_the_sweeps_directly_in_it(elsewhere):
    """Not those further down, which are named; a folder without any is refused."""
    mine = _write(elsewhere / "here" / "mine.toml")
    _write(elsewhere / "here" / "recipe.toml")
    _write(elsewhere / "here" / "below" / "b.toml")
    (elsewhere / "empty").mkdir()
    assert bundled.resolve_all(str(elsewhere / "here")) == [mine]
    assert bundled.resolve_all("here/") == [Path("here/mine.toml")]
    mine.unlink()
    with pytest.raises(SweepError, match=r"^here: holds no sweep file; folders in it do: 'here/below'$"):
        bundled.resolve_all("here")
    with pytest.raises(SweepError, match=r"^empty: holds no sweep file$"):
        bundled.resolve_all("empty")
    with pytest.raises(SweepError, match="is too long"):
        bundled.resolve_all("x" * 5000)


def test_many_broken_files_are_told_in_part(elsewhere):
    """Of a folder some problems of some files, with how many more there are; of one file all."""
    text = "seeds = [0]\nbaseline.model.name = 'm'\n[[rows]]\nlabel = 'A'\n" + "".join(f"k{n} = 1\n" for n in range(8))
    paths = [elsewhere / f"{n:02d}.toml" for n in range(12)]
    for path in paths:
        path.write_text(text)
    with pytest.raises(SweepError) as caught:
        load_each(paths)
    problems = caught.value.problems
    assert len(problems) == 10 * 6 + 1
    assert problems[5] == "and 3 more"
    assert problems[-1] == "and 2 more files"
    with pytest.raises(SweepError) as caught:
        load_each(paths[:1])
    assert len(caught.value.problems) == 8


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


def test_copy_takes_published_curves_along(elsewhere):
    """The CSV file that a sweep's [figure] names is copied beside it, so that the copy loads."""
    written = bundled.copy("huynh2022/sgd", elsewhere / "sweeps")
    assert {path.name for path in written} == {"sgd.toml", "recipe.toml", "sgd_curves.csv"}
    assert load(written[0]).figures == _huynh("sgd").figures


def test_copy_of_a_folder_takes_every_sweep_of_it(elsewhere):
    """A folder's name stands for all of its sweeps; their recipe comes once, and the copies load as the originals."""
    written = bundled.copy("huynh2022/", elsewhere / "sweeps")
    sweeps = [path for path in written if path.suffix == ".toml" and path.name != bundled.RECIPE]
    assert sorted(path.stem for path in sweeps) == sorted(HUYNH)
    assert len(set(written)) == len(written) == len(HUYNH) + 2
    assert load(elsewhere / "sweeps" / "huynh2022" / "sgd.toml").digest == _huynh("sgd").digest
    assert bundled.copy("huynh2022", elsewhere / "sweeps") == []
    with pytest.raises(SweepError, match="huynh: no bundled sweep; did you mean 'huynh2022'"):
        bundled.copy("huynh", elsewhere / "there")


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


def _huynh(name, smoke=False):
    return load(bundled.sweeps_folder() / "huynh2022" / f"{name}.toml", smoke=smoke)


def _published(sweep, source):
    """Row's label -> the numbers that `source` published, by metric."""
    cells = {sweep.rows[cell.row].label: cell.published for cell in sweep.cells}
    return {label: {m: by[source] for m, by in found.items() if source in by} for label, found in cells.items()}


def test_huynh_models_are_the_papers():
    """The four models and the numbers of table 2 and of its reproduction, and the reading of the released code."""
    sweep = _huynh("models")
    assert _published(sweep, "paper") == {
        "ViT-L/16": {"val_top1": 86.43, "macs": 190.7},
        "CaiT-S/36": {"val_top1": 86.74, "macs": 48.0},
        "DeiT-B/16 distilled": {"val_top1": 87.29, "macs": 55.5},
        "Swin-L/4": {"val_top1": 91.35, "macs": 103.9},
    }
    mib = round(1.13 * 1024)  # printed as 1.13 GB; the weights in fp32 are 1.132 GiB
    names = ("val_top1", "val_top5", "checkpoint_bytes", "epoch_seconds")
    assert [tuple(found[name] for name in names) for found in _published(sweep, "reproduction").values()] == [
        (86.52, 95.82, mib, 22 * 60 + 56), (86.66, 96.61, 781, 23 * 60 + 10), (82.52, 94.16, 330, 9 * 60 + 20),
        (91.32, 98.04, 761, 20 * 60 + 30),
    ]  # fmt: skip
    recipes = [cell.recipe for cell in sweep.cells]
    assert {recipe.model.trainable for recipe in recipes} == {"head"}
    assert [recipe.model.backbone_mode for recipe in recipes] == ["train", "train", "eval", "train"]
    assert {recipe.augment.erase_order for recipe in recipes} == {"after-mix"}


@pytest.mark.parametrize("name", ["models", "ablation"])
def test_huynh_in_the_words_of_the_text_trains_all_weights(name):
    """Rows and published numbers are the same; the recipes differ in what is trained, and in DeiT's mode."""
    code, text = _huynh(name), _huynh(f"{name}_all")
    assert [row.label for row in text.rows] == [row.label for row in code.rows]
    for mine, theirs in zip(text.cells, code.cells, strict=True):
        assert mine.published["val_top1"] == {"paper": theirs.published["val_top1"]["paper"]}
        changed = {path: new for path, (_, new) in differences(mine.recipe, theirs.recipe).items()}
        mode = {"model.backbone_mode": "train"} if theirs.recipe.model.backbone_mode == "eval" else {}
        assert changed == {"model.trainable": "all"} | mode


def test_huynh_grid_is_the_papers():
    """Twelve cells of learning rate and weight decay; the paper's default with RandAugment is one of them."""
    sweep = _huynh("adamw_grid")
    assert [(cell.recipe.optimizer.lr, cell.recipe.optimizer.weight_decay) for cell in sweep.cells] == [
        (lr, decay) for lr in (3e-3, 1e-3, 7e-4, 5e-4) for decay in (0.2, 0.05, 0.01)
    ]
    assert _huynh("ablation").baseline in [cell.recipe for cell in sweep.cells]


def test_huynh_sgd_is_the_papers():
    """Best numbers and curves of figure 1, of which they are the maxima; SGD as published, on undivided gradients."""
    sweep = _huynh("sgd")
    best = {"AdamW": 91.34, "SGD": 91.10, "SGD Nesterov": 91.21}
    assert {label: found["val_top1"] for label, found in _published(sweep, "paper").items()} == best
    assert sweep.figures[0].metric == "val_top1"
    curves = {label: [value for _, value in curve] for label, curve in sweep.figures[0].published.items()}
    assert {label: (curve[0], max(curve), curve[-1]) for label, curve in curves.items()} == {
        "AdamW": (89.68, 91.34, 91.21), "SGD": (89.63, 91.10, 91.08), "SGD Nesterov": (89.47, 91.21, 91.11),
    }  # fmt: skip
    assert {tuple(epoch for epoch, _ in curve) for curve in sweep.figures[0].published.values()} == {
        tuple(range(1, 31))
    }
    sgd = [cell.recipe for cell in sweep.cells[1:]]
    settings = [(r.optimizer.name, r.optimizer.lr, r.optimizer.weight_decay, r.optimizer.momentum) for r in sgd]
    assert settings == [("sgd", 1e-2, 1e-5, 0.9)] * 2
    assert [recipe.optimizer.nesterov for recipe in sgd] == [False, True]
    assert {(recipe.batch.size, recipe.batch.accumulation, recipe.batch.divide_loss) for recipe in sgd} == {
        (128, 4, False)
    }


def test_huynh_perturbation_is_the_papers():
    """SAM, ASAM and PUGD over both optimizers, each 85 % dearer; AdamW and SGD are rows of the other tables."""
    sweep = _huynh("perturbation")
    optimizers = [cell.recipe.optimizer for cell in sweep.cells]
    assert [(each.name, each.perturbation) for each in optimizers] == [
        (name, perturbation) for name in ("adamw", "sgd") for perturbation in ("none", "sam", "asam", "pugd")
    ]
    assert {(each.perturbation, each.rho) for each in optimizers if "sam" in each.perturbation} == {
        ("sam", 0.05),
        ("asam", 0.5),
    }
    published = list(_published(sweep, "paper").values())
    assert [each for each in published if "relative_epoch_time" in each] == [{"relative_epoch_time": 1.85}] * 6
    curves = _huynh("sgd").figures[0].published
    for at, label in ((0, "AdamW"), (4, "SGD")):
        assert published[at] == {f"val_top1@{epoch}": value for epoch, value in curves[label][:5]}
    others = [cell.canonical for cell in _huynh("sgd").cells]
    assert [sweep.cells[at].canonical for at in (0, 4)] == others[:2]


def test_huynh_batch_size_is_the_reproductions():
    """Three sizes with both its numbers; the paper's number stands at its own batch size."""
    sweep = _huynh("batch_size")
    assert [cell.recipe.batch.size for cell in sweep.cells] == [32, 64, 128]
    assert [tuple(found.values()) for found in _published(sweep, "reproduction").values()] == [
        (81.79, 93.84), (82.15, 94.02), (82.11, 93.91),
    ]  # fmt: skip
    assert list(_published(sweep, "paper").values()) == [{}, {}, {"val_top1": 87.29}]
    assert sweep.cells[2].recipe == _huynh("models").cells[2].recipe


def test_huynh_throughput_is_the_papers():
    """Table 3 as printed, errors included, with table 2's MACs; fp32 in batches of 32, nothing trained to the end."""
    sweep = _huynh("throughput")
    names = ("layers", "width", "macs", "inference_images_per_second")
    assert [tuple(found[name] for name in names) for found in _published(sweep, "paper").values()] == [
        (24, 1024, 190.7, 31.5), (36, 368, 48.0, 24.0), (12, 768, 55.5, 83.1), (18, 192, 103.9, 36.0),
    ]  # fmt: skip
    assert {(cell.recipe.batch.size, cell.recipe.precision) for cell in sweep.cells} == {(32, "fp32")}
    assert sweep.kinds == ("measure",)


def test_huynh_tables_share_their_trials():
    """What several tables need is planned once, and the classifiers on one stream of features are one job a seed."""
    plan = make_plan([ask(_huynh(name), "a device") for name in HUYNH], {}, splits=lambda recipe: True)
    # Three seeds of: Swin-L with RandAugment (ablation, adamw_grid, sgd, perturbation), without it (models, ablation,
    # reproduction), without it and all weights (models_all, ablation_all), with SGD (sgd, perturbation), and DeiT-B
    # (models, batch_size).
    assert plan.common == 3 * 5
    trainings = [(len(job.trials), job.learners) for job in plan.jobs if job.kind == "train"]
    # On Swin-L's features with RandAugment: 12 of the grid, no smoothing, EMA (which only observes), 2 SGD, and SAM,
    # ASAM and PUGD over both.
    assert sorted(trainings)[-3:] == [(22, 21)] * 3


def test_huynh_ablation_is_the_papers():
    """The eleven rows and numbers of table 4; each but the first moves one factor off the base with RandAugment."""
    sweep = _huynh("ablation")
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
    sweep = _huynh("reproduction")
    assert [tuple(cell.published["val_top1"].values()) for cell in sweep.cells] == [
        (91.32, 91.35), (91.01, 91.34), (91.03, 91.28), (91.20, 91.25), (91.14, 91.11), (91.28, 91.04),
    ]  # fmt: skip
    assert list(sweep.cells[0].published["val_top1"]) == ["reproduction", "paper"]
    assert sweep.baseline.augment.policy == policies.canonical("torchvision-randaugment-n2-m0")
    assert sweep.baseline == _huynh("ablation").cells[1].recipe


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
    built = {}
    for name in NAMES:
        for cell in load(bundled.resolve(name)).cells:
            check_name(cell.recipe.model.name)
        for cell in load(bundled.resolve(name), smoke=True).cells:
            model, size = cell.recipe.model, cell.recipe.data.image_size
            classes = lookup(cell.recipe.data.name).classes
            model = dataclasses.replace(model, trainable="all", backbone_mode="train")  # which build the same
            if repr(model) not in built:
                module = build_model(model, image_size=size, classes=classes, seed=0, weights=None).module
                assert module(torch.zeros(2, 3, size, size)).shape == (2, classes)
                built[repr(model)] = sum(each.numel() for each in module.parameters())
    assert max(built.values()) < 1e6  # tiny, so that every sweep runs on a CPU in seconds
    assert len({text.partition(",")[0] for text in built}) == 5  # without Swin with and without drop-path
