"""The commands about data sets."""

import sys
from pathlib import Path

import click

from tinyablate.commands.group import Group
from tinyablate.options import GivenPath, format_option, load_one, sweep_options
from tinyablate.terminal import say, show


@click.group("data", cls=Group)
def data_group() -> None:
    """Prepare, check, list data sets and preview what a sweep does to their images.

    They lie in TINYABLATE_DATA, else ./results/data.
    """


@data_group.command("prepare")
@click.argument("name")
@click.option("--from", "source", type=GivenPath(path_type=Path), help="A ZIP file or a folder [download].")
def data_prepare_command(name: str, source: Path | None) -> None:
    """Make the data set NAME ready for use. Nothing half-written is ever taken for whole.

    \b
    tinyablate data prepare tiny-imagenet             download, decode once into a packed array
    tinyablate data prepare my-photos --from FOLDER   register your own images under a new name

    Such a FOLDER holds train/<class>/<image> and val/<class>/<image> (or valid, validation), of any size, also in
    folders inside a class's. Images are the files that end in .jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff or
    .webp, in either case; others are ignored and named, hidden ones only ignored. Every image is read once and checked;
    the images stay where they are, and are decoded anew whenever they are shown. So are those of imagenet-1k.
    """
    from tinyablate.preflight import prepare_data

    show(str(prepare_data(name, source)))


@data_group.command("verify")
@click.argument("name")
def data_verify_command(name: str) -> None:
    """Read every byte of a data set and compare it with what was prepared. Exit code 1 if anything differs."""
    from tinyablate.describe import describe_verification

    text, whole = describe_verification(name)
    show(text)
    sys.exit(0 if whole else 1)


@data_group.command("preview")
@sweep_options
@click.option("--row", "rows", metavar="LABEL", multiple=True, help="Only this row [all]. Repeatable.")
@click.option("--images", type=click.IntRange(1, 64), default=8, show_default=True, help="Images a row.")
@click.option(
    "--out",
    type=GivenPath(path_type=Path, dir_okay=False),
    help="Where to write it: .html or .png [results/preview/SWEEP.html].",
)
@format_option("table", "csv", "json", "markdown", default="table")
def data_preview_command(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int, rows: tuple[str, ...],
    images: int, out: Path | None, format_: str,
) -> None:  # fmt: skip
    """Draw what each row's training images look like: the same images and seed in every row, as the model sees them.

    The sweep's data sets must be prepared; --smoke of the bundled sweeps works without any, as its data is generated.
    The seed is the first of the first row shown.

    Prints the realised rates over the first epoch: shares of images mixed by Mixup, by CutMix, mean erased area; and
    over a sample of images the share 'changed' by policy or colour jitter. Trains nothing.
    """
    from tinyablate.listing import render_rows
    from tinyablate.preview import preview, rates_table
    from tinyablate.store.query import Rows

    path, entries = preview(load_one(sweep, smoke, overrides, seeds, null_rows), rows, images, out)
    columns, lines = rates_table(entries)
    show(render_rows(Rows(columns, lines), format_))
    say(f"wrote {path}")


@data_group.command("list")
@format_option("table", "json", default="table")
def data_list_command(format_: str) -> None:
    """List the data sets, built in or registered, and whether each is prepared."""
    from tinyablate.describe import describe_data

    show(describe_data(format_))
