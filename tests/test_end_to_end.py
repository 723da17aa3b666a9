"""Sweep file to table with nothing replaced: real JPEGs, a real timm model, real Ray, real SQLite; bit for bit."""

import json
import signal
import sqlite3
import time
from collections.abc import Callable

import numpy as np
from conftest import Cli
from PIL import Image

LONE = """
title = "Real training, small"
metrics = ["val_top1", "val_loss"]
select = "last"
seeds = [0, 1]
[baseline]
data.name = "shapes"
data.image_size = 32
data.fraction = 0.25
model.name = "test_resnet"
model.pretrained = false
augment.hflip = 0.5
augment.erase_prob = 0.25
mix.mixup_alpha = 0.2
mix.cutmix_alpha = 1.0
loss.smoothing = 0.1
optimizer.lr = 1e-2
schedule.epochs = 3
schedule.warmup_epochs = 0.5
batch.size = 100
[[rows]]
label = "Default"
"""
SWEEP = (
    LONE
    + """
[[rows]]
label = "SGD, crop, policy, jitter"
set.optimizer.name = "sgd"
set.augment = { crop = "rrc", policy = "rand-m9-mstd0.5-inc1", color_jitter = 0.3 }
[[rows]]
label = "EMA"
set.ema.decay = 0.98
"""
)

NUMBERS = (
    "SELECT t.key, e.observer, e.epoch, e.lr, e.train_loss, e.val_loss, e.val_top1, e.val_top5, hex(c.bits) "
    "FROM stored_trials t JOIN stored_epochs e ON e.attempt_id = t.accepted_attempt_id "
    "JOIN correctness c ON c.attempt_id = e.attempt_id AND c.observer = e.observer AND c.epoch = e.epoch "
    "ORDER BY 1, 2, 3"
)


def numbers(cli: Cli) -> list[tuple[object, ...]]:
    """Every number of every accepted epoch, and the correctness bits."""
    with sqlite3.connect(cli.folder / "results" / "ablations.db") as connection:
        return connection.execute(NUMBERS).fetchall()


def test_the_same_bits_however_computed(cli: Cli, new_cli: Callable[[str], Cli]) -> None:
    """All numbers are equal: in one process, and by Ray, two at a time, with the driver killed in the middle."""
    cli.write(SWEEP, "real")
    lone = cli("run", "real", "--launcher", "inline", "--format", "csv")
    expected = numbers(cli)
    assert len(expected) == 3 * 2 * 3
    assert {len(row[-1]) for row in expected} == {2 * 1000 // 8}

    killed = new_cli("killed")
    killed.write(SWEEP, "real")
    process = killed.start("run", "real", "--slots", "2")
    until = time.monotonic() + 150
    # In the middle of a training. A job goes on from an epoch that all its trials have: none here has more than two.
    while len(list(killed.folder.glob("results/*.trials/*-1-*/epoch-*"))) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    done = killed("run", "real", "--slots", "1", "--format", "csv")
    assert numbers(killed) == expected
    assert done.stdout == lone.stdout
    with sqlite3.connect(killed.folder / "results" / "ablations.db") as connection:
        accepted = connection.execute("SELECT from_epoch, trial_id FROM attempts WHERE state = 'complete'").fetchall()
    assert len(accepted) == len({trial for _, trial in accepted}) == 6
    assert max(epoch for epoch, _ in accepted) > 1, "nothing was continued from a checkpoint"
    assert min(epoch for epoch, _ in accepted) == 1, "nothing was trained whole"


def test_it_learns(cli: Cli) -> None:
    """Three epochs on `shapes` teach the model far more than chance (10 %), and the table says so."""
    cli.write(LONE.replace("fraction = 0.25", "fraction = 1.0"), "real")
    done = cli("run", "real", "--seeds", "0", "--launcher", "inline", "--format", "json")
    (row,) = json.loads(done.stdout)["rows"]
    top1 = next(cell for cell in row["cells"] if cell["metric"] == "val_top1")
    assert top1["mean"] > 40
    assert top1["n"] == 1


def test_a_folder_of_images_is_trained_on(cli: Cli) -> None:
    """Images of any size, left where they are: the same bits through Ray and in one process, in the default data home.

    A hold-out of the training images is evaluated in the same training; a damaged file later is named.
    """
    for split, count in (("train", 40), ("val", 12)):
        for label, hue in (("cold", 40), ("warm", 200)):
            folder = cli.folder / "photos" / split / label
            folder.mkdir(parents=True)
            random = np.random.default_rng(hue + count)
            for number in range(count):
                height, width = random.integers(40, 90, 2)
                pixels = random.integers(0, 60, (height, width, 3)) + np.array([hue, 60, 240 - hue])
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.JPEG")
    home = {"TINYABLATE_DATA": ""}
    cli("data", "prepare", "photos", "--from", "photos", **home)
    text = SWEEP.replace('"shapes"', '"photos"').replace("seeds = [0, 1]", "seeds = [0]")
    text = text.replace("data.fraction = 0.25", "").replace(
        "batch.size = 100", 'batch.size = 20\ndata.split = "train[:80%]"'
    )
    cli.write(text + '[[rows]]\nlabel = "Held out"\nset.evaluate = { split = "train[80%:]" }\n', "real")
    cli("run", "real", "--db", "ray.db", **home)
    cli("run", "real", "--db", "results/ablations.db", "--launcher", "inline", **home)
    found = numbers(cli)
    assert len(found) == 4 * 3
    with sqlite3.connect(cli.folder / "ray.db") as connection:
        assert connection.execute(NUMBERS).fetchall() == found
    assert max(float(str(row[6])) for row in found) == 100  # colour alone tells the classes apart
    (cli.folder / "photos" / "train" / "cold" / "3.JPEG").write_bytes(b"no image")
    error = cli(
        "run", "real", "--db", "results/ablations.db", "--seeds", "7", "--launcher", "inline", code=1, **home
    ).stderr
    assert "cold/3.JPEG" in error


def test_divergence_is_a_result(cli: Cli) -> None:
    """A learning rate that blows up is the state diverged with its epoch, not a failure: run exits 0."""
    text = SWEEP.replace('set.optimizer.name = "sgd"', 'set.optimizer.name = "sgd"\nset.optimizer.lr = 1e6')
    cli.write(text, "real")
    cli("run", "real", "--seeds", "0", "--set", "schedule.epochs=1", "--launcher", "inline")
    rows = cli.sql("SELECT state, diverged_epoch FROM trials WHERE optimizer_name = 'sgd'")
    assert rows == [{"state": "diverged", "diverged_epoch": 1}]
    row = cli.json("table", "real", "--seeds", "0", "--set", "schedule.epochs=1")["rows"][1]
    assert row["cells"][0]["state"] == "diverged"
    assert row["cells"][0]["mean"] is None


def test_the_demo_runs_with_smoke(cli: Cli) -> None:
    """The bundled demo goes through the whole line in one process, and its table says SMOKE."""
    done = cli("run", "demo/ablation", "--smoke", "--launcher", "inline", "--format", "json")
    table = json.loads(done.stdout)
    assert table["title"].startswith("SMOKE")
    assert {cell["state"] for row in table["rows"] for cell in row["cells"]} == {"complete"}
