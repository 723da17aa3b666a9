"""`data preview`: pictures that are what the model sees, rates that are what happens."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Cli
from PIL import Image

from tinyablate.train.data.packed import open_packed
from tinyablate.train.randomness import epoch_order

ROWS = """
[[rows]]
label = "Mixed"
set.mix = { mixup_alpha = 0.8, cutmix_alpha = 1.0 }
[[rows]]
label = "CutMix alone"
set.mix.cutmix_alpha = 1.0
[[rows]]
label = "CutMix alone, at its rate"
set.mix = { cutmix_alpha = 1.0, keep_rate = true }
[[rows]]
label = "Erased"
set.augment.erase_prob = 1.0
[[rows]]
label = "Magnitude 0"
set.augment.policy = "torchvision-randaugment-n2-m0"
[[rows]]
label = "Crops & <flips>"
set.augment = { crop = "rrc", hflip = 0.5 }
"""
SWEEP = TINY.replace("image_size = 32", "image_size = 64") + ROWS


def pictures(page: str) -> dict[str, np.ndarray]:
    """Row label -> its strip of images, as the page embeds it."""
    found = re.findall(r'<h2>([^<]*)</h2><img alt="[^"]*" src="data:image/png;base64,([^"]+)">', page)
    return {label: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for label, data in found}


def test_the_page_shows_what_the_model_sees(cli: Cli) -> None:
    """Without augmentation the strip holds the stored images in the first epoch's order, every pixel twice each way.

    Rows that change no image show the same ones; other rows show the same images changed.
    """
    cli.write(SWEEP)
    cli("data", "preview", "tiny", "--images", "4")
    strips = pictures((cli.folder / "results" / "preview" / "tiny.html").read_text())
    assert list(strips) == [
        "Default", "No decay", "EMA", "Mixed", "CutMix alone", "CutMix alone, at its rate", "Erased", "Magnitude 0",
        "Crops &amp; &lt;flips&gt;",
    ]  # fmt: skip
    stored = open_packed(cli.data / "shapes").train[epoch_order(0, 1, 4000)[:4]]
    for index, image in enumerate(stored):
        shown = strips["Default"][:, index * 132 : index * 132 + 128]
        assert np.array_equal(shown, image.repeat(2, axis=0).repeat(2, axis=1))
    assert np.array_equal(strips["Default"], strips["No decay"])
    assert (strips["Erased"] != strips["Default"]).any()


def test_rates_are_those_of_the_recipe(cli: Cli) -> None:
    """Shares of the first epoch: without Mixup timm's CutMix doubles, with keep_rate it stays to the batch.

    Magnitude 0 of torchvision's RandAugment changes images. 80 batches: four standard errors are 0.22.
    """
    cli.write(SWEEP)
    rates = {row["row"]: row for row in cli.json("data", "preview", "tiny", "--images", "1")}
    plain = {"mixup": 0, "cutmix": 0, "erased": 0, "changed": 0}
    assert rates["Default"] == {"row": "Default", **plain}
    assert rates["Mixed"]["mixup"] + rates["Mixed"]["cutmix"] == pytest.approx(1)
    assert rates["Mixed"]["cutmix"] == pytest.approx(0.5, abs=0.22)
    assert rates["CutMix alone"] == {"row": "CutMix alone", **plain, "cutmix": 1}
    assert rates["CutMix alone, at its rate"]["cutmix"] == rates["Mixed"]["cutmix"]
    assert 0.1 < rates["Erased"]["erased"] < 0.2
    assert 0.1 < rates["Magnitude 0"]["changed"] < 0.6
    assert rates["Crops & <flips>"]["changed"] == 0


def test_rows_and_file_can_be_chosen(cli: Cli, tmp_path: Path) -> None:
    """`--row` keeps the rows it names, a .png is one picture of the size of its lines."""
    cli.write(SWEEP)
    done = cli("data", "preview", "tiny", "--row", "Erased", "--row", "Mixed", "--out", str(tmp_path / "new" / "a.png"))
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["row", "Mixed", "Erased"]
    with Image.open(tmp_path / "new" / "a.png") as sheet:
        assert sheet.width >= 8 * 128
        assert 2 * 128 < sheet.height < 2 * 128 + 200
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--row", "Mixedd"], ["--row Mixedd", "did you mean 'Mixed'", "'Erased'"]),
        (["--out", "sheet.jpg"], ["--out sheet.jpg", ".html", ".png"]),
        (["--images", "0"], ["--images", "1<=x<=64"]),
        (["--set", "augment.policy=rand-m9-mstd"], ["--set augment.policy", "rand-m9-mstd"]),
        (["--set", "data.name=tiny-imagenet"], ["tiny-imagenet", "data prepare tiny-imagenet"]),
    ],
)
def test_bad_input_is_one_clear_error(cli: Cli, words: list[str], texts: list[str]) -> None:
    """Exit code 2, a message with what is wrong and what would be right, and no file."""
    cli.write(SWEEP)
    error = cli("data", "preview", "tiny", *words, code=2).stderr
    for text in texts:
        assert text in error
    assert not (cli.folder / "results" / "preview").exists()
