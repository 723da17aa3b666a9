"""What the commands' options are, and the sweeps that their arguments name. It runs nothing."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tinyablate.errors import UsageError

if TYPE_CHECKING:
    from tinyablate.sweep.schema import Sweep

DEFAULT_DATABASE = "results/ablations.db"
MOST_SEEDS = 10_000
MOST_NULL_ROWS = 100
LEAST_HANG = 0.05
"""Minutes: a time slice takes two seconds, or as long as one update (see `dispatch.SLICE_SECONDS`)."""

F = TypeVar("F", bound=Callable[..., Any])


class GivenPath(click.Path):
    """A path that is not empty: an unset variable of the shell is not the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The Path; an empty text is refused."""
        if value == "":
            self.fail("is empty; for the current folder write .", param, ctx)
        return super().convert(value, param, ctx)


def database_of(text: str | None) -> str:
    """What `--db` means: itself, else TINYABLATE_DB, else the default."""
    return text or os.environ.get("TINYABLATE_DB") or DEFAULT_DATABASE


def database_option(command: F) -> F:
    """`--db`, the same everywhere."""
    option = click.option(
        "--db", metavar="PATH_OR_URL",
        help="Results database: a file, or postgresql://USER@HOST:PORT/NAME, whose password is best left to PGPASSWORD "
        f"or ~/.pgpass [TINYABLATE_DB, else ./{DEFAULT_DATABASE}].",
        callback=lambda ctx, param, value: database_of(value),
    )  # fmt: skip
    return option(command)


def database_words(text: str) -> list[str]:
    """`--db …` for a command that is proposed to the user, without a password; nothing where it would change nothing.

    Raises StoreError for what cannot be a database.
    """
    from tinyablate.store.location import Location

    if text == database_of(None):
        return []
    location = Location.of(text)
    return ["--db", text if location.path else location.shown]


def format_option(*choices: str, default: str) -> Callable[[F], F]:
    """`--format` with a command's own choices."""
    return click.option("--format", "format_", type=click.Choice(choices), default=default, show_default=True)


def sweep_options(command: F) -> F:
    """SWEEP and what changes its meaning."""
    return click.argument("sweep")(change_options(command))


def change_options(command: F) -> F:
    """What makes a sweep another than its file says."""
    for option in (
        click.option("--null-rows", type=click.IntRange(min=0, max=MOST_NULL_ROWS), default=0, metavar="N",
                     help="Add the baseline again, N times, under other seeds: their differences show what noise is."),
        click.option("--seeds", metavar="LIST", help="Other seeds than the file's: 0,1,2 or 0-5."),
        click.option("--set", "overrides", metavar="PATH=VALUE", multiple=True,
                     help="Change a field of the baseline, typed as in the file: --set schedule.epochs=2. Repeatable."),
        click.option("--smoke", is_flag=True, help="Tiny models and data, one seed: the whole line on a CPU."),
    ):  # fmt: skip
        command = option(command)
    return command


def change_words(smoke: bool, overrides: Sequence[str], seeds: str | None, null_rows: int) -> list[str]:
    """These options as they are typed."""
    words = ["--smoke"] * smoke + [word for each in overrides for word in ("--set", each)]
    words += ["--seeds", seeds] if seeds else []
    return words + (["--null-rows", str(null_rows)] if null_rows else [])


def share_options(command: F) -> F:
    """What may be computed once for several trials; their numbers are the same either way."""
    for option in (
        click.option("--cache-features/--no-cache-features", default=None,
                     help="Compute a frozen trunk's features of the evaluated images once [where it cannot change]."),
        click.option("--share/--no-share", default=True, show_default=True,
                     help="Compute trials together that differ only in observers, or in heads on a frozen trunk."),
    ):  # fmt: skip
        command = option(command)
    return command


def machine_options(command: F) -> F:
    """What computes, and from which weights."""
    for option in (
        click.option("--weights-dir", type=GivenPath(path_type=Path, file_okay=False), envvar="TINYABLATE_WEIGHTS",
                     help="Folder with pretrained weights, for machines without a network [TINYABLATE_WEIGHTS]."),
        click.option("--micro-batch", type=click.IntRange(min=1),
                     help="Images per forward and backward pass [the batch, or what memory held before]. "
                     "Same gradient, less memory."),
        click.option("--trials-per-gpu", type=click.IntRange(min=1), default=1, show_default=True),
        click.option("--slots", type=click.IntRange(min=1), help="CPU trials at a time [one per core]."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    ):  # fmt: skip
        command = option(command)
    return command


class Minutes(click.FloatRange):
    """A number above 0, or from `least` on; `inf` is never."""

    name = "number of minutes"

    def __init__(self, least: float = 0.0, why: str = "") -> None:
        super().__init__(min=0, min_open=True)
        self._least, self._why = least, why

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; nan, which is above nothing and below nothing, is refused too."""
        minutes = float(super().convert(value, param, ctx))
        if minutes != minutes:
            self.fail(f"{value} is no number of minutes", param, ctx)
        if minutes < self._least:
            self.fail(f"{value} is less than {self._least:g} minutes: {self._why}", param, ctx)
        return minutes


def safety_options(command: F) -> F:
    """What a run does about what may go wrong."""
    for option in (
        click.option("--keep-weights", is_flag=True, help="Keep the last weights of every trial, beside the database."),
        click.option("--max-lost", type=click.IntRange(min=1), metavar="N",
                     help="Give a trial up when its worker, its machine or its driver has gone away N times [never]."),
        click.option("--hang-minutes", type=Minutes(LEAST_HANG, "a worker that is well is silent for as long"),
                     metavar="M", default=30, show_default=True,
                     help="A trial that ends no time slice for so long hangs: its worker is killed, the trial is tried "
                     "again."),
        click.option("--checkpoint-minutes", type=Minutes(), metavar="M",
                     help="Save trials this often also between two updates of an epoch [only when an epoch ends]."),
    ):  # fmt: skip
        command = option(command)
    return command


def load_one(sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int = 0) -> "Sweep":
    """The one sweep of this name."""
    from tinyablate import bundled
    from tinyablate.sweep.load import load

    return load(bundled.resolve(sweep), smoke=smoke, overrides=overrides, seeds=parse_seeds(seeds), null_rows=null_rows)


def load_all(
    sweep: str, smoke: bool, overrides: tuple[str, ...], seeds: str | None, null_rows: int = 0
) -> "list[Sweep]":
    """The sweep of this name, or all of the folder of this name."""
    from tinyablate import bundled
    from tinyablate.sweep.load import load, load_each

    given = parse_seeds(seeds)
    return load_each(
        bundled.resolve_all(sweep),
        lambda path: load(path, smoke=smoke, overrides=overrides, seeds=given, null_rows=null_rows),
    )


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """`0,1,2` or `0-5` as numbers; None stays None. Raises UsageError."""
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        numbers = [low, high] if dash else [low]
        if not all(number.isascii() and number.isdecimal() and len(number) < 19 for number in numbers):
            raise UsageError(f"--seeds {text[:60]}: not a list of whole numbers; valid: 0,1,2 or 0-5")
        if int(numbers[-1]) - int(low) >= MOST_SEEDS:
            raise UsageError(f"--seeds {text[:60]}: more than {MOST_SEEDS:,} seeds")
        seeds += range(int(low), int(numbers[-1]) + 1)
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds {text}: {'a seed stands there twice' if seeds else 'no seeds'}")
    return tuple(seeds)
