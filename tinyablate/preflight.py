"""What must hold before anything is trained: models exist and fit, data is prepared, weights are here."""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyablate import datasets
from tinyablate.errors import RecipeError, SweepError, UsageError
from tinyablate.model_facts import ModelFacts, Request, facts_for
from tinyablate.run import Weights
from tinyablate.sweep.schema import Cell, Sweep
from tinyablate.terminal import say

if TYPE_CHECKING:
    from rich.progress import TaskID


def check_models(
    sweeps: Sequence[Sweep], micro_batch: int | None = None, cache_features: bool = False
) -> Mapping[Request, ModelFacts]:
    """Facts of every model that the sweeps name. Raises SweepError with every cell's problem at once.

    A micro-batch other than the batch is refused for models whose gradient would depend on it, `cache_features` (when
    asked for) for trunks that change while a head is trained.
    """
    answers = facts_for(list(dict.fromkeys(Request.of(cell.recipe) for sweep in sweeps for cell in sweep.cells)), say)
    problems = list[str]()
    for sweep in sweeps:
        broken: dict[str, list[Cell]] = {}
        for cell in sweep.cells:
            for rule in _rules(cell, answers[Request.of(cell.recipe)], micro_batch, cache_features):
                broken.setdefault(rule, []).append(cell)
        problems += [f"{sweep.path}: {_cells_name(sweep, cells)}: {rule}" for rule, cells in broken.items()]
    if problems:
        raise SweepError(problems)
    return {request: answer for request, answer in answers.items() if isinstance(answer, ModelFacts)}


def _rules(
    cell: Cell, answer: ModelFacts | RecipeError, micro_batch: int | None, cache_features: bool
) -> Iterator[str]:
    """What the cell's model or data cannot do."""
    if isinstance(answer, RecipeError):
        yield from (f"{path} = {value!r}: {rule}" for path, value, rule in answer.problems)
    else:
        yield from filter(None, (
            tag_rule(cell, answer),
            micro_batch_rule(cell, answer, micro_batch),
            features_rule(cell, answer) if cache_features else None,
        ))  # fmt: skip
    yield from _data_rules(cell, answer.image_size if isinstance(answer, ModelFacts) else cell.recipe.data.image_size)


def cell_name(sweep: Sweep, cell: Cell) -> str:
    """The cell as the user wrote it: its row's and column's label."""
    column = sweep.columns[cell.column].label
    return f"row '{sweep.rows[cell.row].label}'" + (f", column '{column}'" if column else "")


def _cells_name(sweep: Sweep, cells: Sequence[Cell]) -> str:
    """One cell by its name, several by the first one's and their number."""
    first, more = cell_name(sweep, cells[0]), len(cells) - 1
    if more and len(cells) == len(sweep.cells):
        return "every cell" if len(sweep.columns) > 1 else "every row"
    return f"{first} and {more} more" if more else first


def tag_rule(cell: Cell, facts: ModelFacts) -> str | None:
    """Why a pretrained model must be named with its tag: what timm takes without one changes between its versions."""
    if not cell.recipe.model.pretrained or cell.recipe.model.name == facts.tagged_name:
        return None
    return (
        f"model.name = {cell.recipe.model.name!r}: name the pretrained weights too: {facts.tagged_name!r}; "
        "or train from random ones: model.pretrained = false"
    )


def micro_batch_rule(cell: Cell, facts: ModelFacts, micro_batch: int | None) -> str | None:
    """Why this micro-batch cannot be used for this cell, or None."""
    batch = cell.recipe.batch.size
    if micro_batch is None:
        return None
    if micro_batch > batch:
        return f"--micro-batch {micro_batch}: is larger than batch.size = {batch}"
    if micro_batch == batch or not (facts.batch_statistics or facts.dropout):
        return None
    what = "batch statistics (BatchNorm)" if facts.batch_statistics else "dropout"
    return (
        f"--micro-batch {micro_batch}: {cell.recipe.model.name} has {what}, so the gradient depends on it; "
        f"valid: {batch}, the whole batch (batch.size)"
    )


def features_rule(cell: Cell, facts: ModelFacts) -> str | None:
    """Why the features of evaluated images cannot be kept from epoch to epoch for this cell, or None."""
    model = cell.recipe.model
    if model.trainable != "head":
        return f"--cache-features: model.trainable = {model.trainable!r}: features change as the model is trained"
    if facts.batch_statistics:
        cure = "set model.backbone_mode = 'eval', or leave the option out"
        return f"--cache-features: {model.name} has batch statistics (BatchNorm), which drift in training mode; {cure}"
    return None


def _data_rules(cell: Cell, size: int) -> Iterator[str]:
    """What the data set cannot give; `size` is the input's in pixels, 0 if unknown."""
    recipe, data = cell.recipe, datasets.lookup(cell.recipe.data.name)
    if recipe.mix.on and data.classes == 1:
        yield f"mix: {data.name} has one class: Mixup and CutMix would mix equal labels; turn both off"
    for path, text in (("data.split", recipe.data.split), ("evaluate.split", recipe.evaluate.split)):
        part = datasets.parse_split(text)
        each = data.train / data.classes if data.classes else 0
        if part.base == "train" and round(part.low * each) >= round(part.high * each):
            yield f"{path} = '{text}': holds no image of a class of {each:,.0f}; name a wider part"
            return
    split = datasets.parse_split(recipe.data.split)
    images = max(round(data.train * (split.high - split.low) * recipe.data.fraction), data.classes)
    if recipe.batch.size > images + data.classes:  # shares are rounded class by class; training knows the exact number
        of = "" if images == data.train else f" in fraction {recipe.data.fraction:g} of {recipe.data.split}"
        yield f"batch.size = {recipe.batch.size}: {data.name} has {images:,} training images{of}"
    padding = recipe.augment.crop_padding
    mirrored = recipe.augment.crop in ("src", "pad") and recipe.augment.crop_padding_mode == "reflect"
    if mirrored and 0 < size <= padding:
        yield f"augment.crop_padding = {padding}: cannot mirror {size} pixels that far; at most {size - 1}"
    if recipe.augment.at == "native" and data.layout == "folders":
        yield f"augment.at = 'native': the images of {data.name} differ in size; valid: 'target'"


def require_data(sweeps: Iterable[Sweep]) -> Path:
    """The data home, with every data set of the sweeps in it and whole; generated ones are made now. Raises DataError.

    A data set is read whole the first time and whenever one of its files has changed since.
    """
    from tinyablate.prepare import require_whole

    home = datasets.default_home()
    for name in dict.fromkeys(cell.recipe.data.name for sweep in sweeps for cell in sweep.cells):
        if datasets.lookup(name).generated:
            prepare_data(name, None)
        with data_bar(name) as progress:
            require_whole(name, home, progress)
    return home.absolute()


def prepare_data(name: str, source: Path | None) -> Path:
    """Prepare a data set, with a bar on the terminal; returns its folder."""
    from tinyablate.prepare import prepare

    if source is not None and name in datasets.KNOWN and datasets.KNOWN[name].generated:
        raise UsageError(f"--from {source}: {name} is generated by tinyablate; leave --from out")
    with data_bar(name) as progress:
        return prepare(name, datasets.default_home(), source, progress)


@contextlib.contextmanager
def data_bar(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on the terminal, if there is one, for work on a data set: call it with stage, done, total (0: unknown)."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"{name}: {what}", total=total or None)
            bar.update(tasks[what], completed=done, total=total or None)

        yield progress


def find_weights(
    sweeps: Iterable[Sweep], facts: Mapping[Request, ModelFacts], weights_dir: Path | None
) -> dict[str, Weights]:
    """Model name -> its pretrained weights, for every cell that wants them; downloaded once if need be."""
    from tinyablate.weights import locate

    found: dict[str, Weights] = {}
    for cell in (cell for sweep in sweeps for cell in sweep.cells):
        model = cell.recipe.model
        if model.pretrained and model.name not in found:
            path = locate(model.name, facts[Request.of(cell.recipe)], weights_dir).absolute()
            found[model.name] = Weights(path, _digest(path))
    return found


def _digest(path: Path) -> str:
    """sha256 of a file, 16 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
