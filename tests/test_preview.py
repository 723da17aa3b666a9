"""`data preview`: pictures that are what the model sees, rates that are what happens."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from tinyablate import recipe
from tinyablate.train import device
from tinyablate.train.data import images
from tinyablate.train.data.packed import open_packed
from tinyablate.train.preview import Previewer, common_ids
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
MANY = 200_000
"""Rectangles of a simulation."""


def previewer(home: Path, **augment: recipe.Value) -> Previewer:
    """Of the plain recipe, with these fields of `augment`."""
    leaves = {f"augment.{name}": value for name, value in augment.items()}
    plain = {"data.name": "shapes", "data.image_size": 64, "model.name": "test_resnet", "model.pretrained": False}
    made = recipe.build({**plain, **leaves, "batch.size": 50})
    return Previewer(made, images.load(home / "shapes", device.settle("cpu")), 0)


def first_images(home: Path, count: int) -> np.ndarray:
    """The first stored images of the first epoch of seed 0: uint8 [count, 64, 64, 3]."""
    return np.asarray(open_packed(home / "shapes").train[epoch_order(0, 1, 4000)[:count]])


def changed_at_magnitude_0(pixels: np.ndarray) -> np.ndarray:
    """For each image the probability that torchvision's RandAugment of two layers at magnitude 0 changes it: [n].

    Of its 14 operations autocontrast, equalize and solarize (which inverts 255) act; the other 11 are the identity.
    """
    before = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    acting = [lambda x: x, vision.autocontrast, vision.equalize, lambda x: vision.solarize(x, 255)]
    weights = [11, 1, 1, 1]
    chance = torch.zeros(len(before), dtype=torch.float64)
    for one, often in zip(acting, weights, strict=True):
        for two, again in zip(acting, weights, strict=True):
            chance += (two(one(before)) != before).flatten(1).any(1) * often * again / 14**2
    return chance.numpy()


def erased_shares(size: int) -> np.ndarray:
    """What timm's rule erases of an image with its default bounds, drawn by a generator of its own: [MANY].

    The area is uniform, the ratio log-uniform, both are drawn anew until the rectangle is smaller both ways; of the
    ten tries more than 99.9 % succeed, the rest erase nothing.
    """
    random = np.random.default_rng(0)
    shares = np.zeros(MANY)
    for _ in range(10):
        area = random.uniform(0.02, 1 / 3, MANY) * size**2
        ratio = np.exp(random.uniform(np.log(0.3), -np.log(0.3), MANY))
        height, width = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (shares == 0) & (height < size) & (width < size)
        shares[fits] = (height * width)[fits] / size**2
    return shares


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
    page = (cli.folder / "results" / "preview" / "tiny.html").read_text()
    assert "<h1>A small sweep · shapes at 64 px</h1>" in page
    assert page.count("<figcaption>Mixup 0.0 %, CutMix 0.0 % of 80 batches · policy or jitter changed") == 6
    strips = pictures(page)
    assert list(strips) == [
        "Original", "Default", "No decay", "EMA", "Mixed", "CutMix alone", "CutMix alone, at its rate", "Erased",
        "Magnitude 0", "Crops &amp; &lt;flips&gt;",
    ]  # fmt: skip
    for index, image in enumerate(first_images(cli.data, 4)):
        shown = strips["Default"][:, index * 132 : index * 132 + 128]
        assert np.array_equal(shown, image.repeat(2, axis=0).repeat(2, axis=1))
    assert np.array_equal(strips["Default"], strips["No decay"])
    assert np.array_equal(strips["Default"], strips["Original"])
    assert (strips["Erased"] != strips["Default"]).any()


def test_rates_are_those_of_the_recipe(cli: Cli) -> None:
    """Shares of the first epoch: without Mixup timm's CutMix doubles, with keep_rate it stays to the batch.

    80 batches: four standard errors are 0.22. Erased area and what magnitude 0 changes are within four standard errors
    of what they are expected to be.
    """
    cli.write(SWEEP)
    done = cli("data", "preview", "tiny", "--images", "1", "--format", "json")
    assert done.stderr.splitlines()[-2] == "preview: 7 of 7 (9 rows, 7 different inputs)"
    rates = {row["row"]: row for row in json.loads(done.stdout)}
    plain = {"mixup": 0, "cutmix": 0, "erased": 0, "changed": 0, "batches": 80, "compared": 256}
    assert rates["Default"] == {"row": "Default", **plain}
    assert rates["Mixed"]["mixup"] + rates["Mixed"]["cutmix"] == pytest.approx(1)
    assert rates["Mixed"]["cutmix"] == pytest.approx(0.5, abs=0.22)
    assert rates["CutMix alone"] == {"row": "CutMix alone", **plain, "cutmix": 1}
    assert rates["CutMix alone, at its rate"]["cutmix"] == rates["Mixed"]["cutmix"]
    assert rates["Crops & <flips>"]["changed"] == 0
    shares = erased_shares(64)
    error = shares.std() * (1 / 2000 + 1 / MANY) ** 0.5
    assert rates["Erased"]["erased"] == pytest.approx(shares.mean(), abs=4 * error)
    chance = changed_at_magnitude_0(first_images(cli.data, 256))
    error = (chance * (1 - chance)).sum() ** 0.5 / 256
    assert rates["Magnitude 0"]["changed"] == pytest.approx(chance.mean(), abs=4 * error)
    page = (cli.folder / "results" / "preview" / "tiny.html").read_text()
    assert f"erased area {100 * rates['Erased']['erased']:.2f} % of 2,000 images" in page


def test_rows_and_file_can_be_chosen(cli: Cli, tmp_path: Path) -> None:
    """`--row` keeps the rows it names, a .png is one picture of the size of its lines and the images as stored."""
    cli.write(SWEEP)
    done = cli("data", "preview", "tiny", "--row", "Erased", "--row", "Mixed", "--out", str(tmp_path / "new" / "a.png"))
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["row", "Mixed", "Erased"]
    with Image.open(tmp_path / "new" / "a.png") as sheet:
        assert sheet.width >= 8 * 128
        assert 3 * 128 < sheet.height < 3 * 128 + 300
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_page_says_where_it_is_not_the_sweep(cli: Cli) -> None:
    """Smoke, --set and the seed stand on the page, the smoke sheet is another file; the seed is the first chosen row's.

    A single image is mixed with another one: in a sweep of Mixup alone it does not stay as it is.
    """
    rows = '[[rows]]\nlabel = "Other seeds"\nseeds = [7, 8]\nset.mix.mixup_alpha = 1.0\n[smoke]\nschedule.epochs = 1\n'
    cli.write(TINY + rows)
    words = ("--smoke", "--set", "data.image_size=48", "--row", "Other seeds", "--images", "1")
    cli("data", "preview", "tiny", *words)
    page = (cli.folder / "results" / "preview" / "tiny-smoke.html").read_text()
    assert "<h1>SMOKE · A small sweep · shapes at 48 px · --set data.image_size=48</h1>" in page
    assert "under seed 7, the first one of the row &#x27;Other seeds&#x27;" in page
    strips = pictures(page)
    assert strips["Original"].shape == strips["Other seeds"].shape == (96, 96, 3)
    assert (strips["Original"] != strips["Other seeds"]).any()


def test_repeated_images_show_their_copies(shapes: Path) -> None:
    """With three repeats picture i is copy i % 3 of image i // 3: mirrored or not, and not all alike."""
    found = previewer(shapes, repeats=3, hflip=0.5)
    shown = found.line(common_ids([found], 0, 31), 30).pictures
    mirrored = []
    for number, picture in enumerate(shown):
        image = first_images(shapes, 10)[number // 3]
        mirrored.append(np.array_equal(picture, image[:, ::-1]))
        assert mirrored[-1] or np.array_equal(picture, image)
    assert {sum(mirrored[at : at + 3]) for at in range(0, 30, 3)} & {1, 2}
    assert np.array_equal(found.original(epoch_order(0, 1, 4000)[:5], 4).pictures, first_images(shapes, 4))


def test_an_only_image_is_its_own_partner(shapes: Path) -> None:
    """Where the rows have a single image in common there is one picture, however many are asked for."""
    found = previewer(shapes)
    assert np.array_equal(found.line(epoch_order(0, 1, 4000)[:1], 8).pictures, first_images(shapes, 1))


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--row", "Mixedd"], ["--row Mixedd", "did you mean 'Mixed'", "'Erased'"]),
        (["--out", "sheet.jpg"], ["--out sheet.jpg", ".html", ".png"]),
        (["--out", "sweeps/tiny.toml/x.html"], ["--out sweeps/tiny.toml/x.html", "cannot be written"]),
        (["--out", "/proc/x.html"], ["--out /proc/x.html", "cannot be written"]),
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
