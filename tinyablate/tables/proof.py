"""The one-factor proof: what each row changes, in the recipe, in the model, and in what really happens to the images.

It reads recipes and stored results; it judges no result and prints nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyablate.plan import Asked, ask
from tinyablate.store.query import StoredOutcome, noted, outcomes_of
from tinyablate.store.store import Store
from tinyablate.sweep.declared import covers
from tinyablate.sweep.schema import Cell, Row, Sweep
from tinyablate.tables.changes import changes_of, pair_of
from tinyablate.tables.schema import Change

_MIXING = ("mix.prob", "mix.switch_prob", "mix.keep_rate", "mix.mode")

RATES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "mixup_share": ("Mixup", ("mix.mixup_alpha", *_MIXING)),
    "cutmix_share": ("CutMix", ("mix.cutmix_alpha", *_MIXING)),
    "erased_area": (
        "erased area",
        ("augment.erase_prob", "augment.erase_count", "augment.erase_area", "augment.erase_ratio"),
    ),
    "changed_share": ("images changed by policy or jitter", ("augment.policy", "augment.color_jitter", "augment.at")),
}
"""What a training records of its first epoch -> its name in words, and the fields that are there to move it."""

REDRAWN = ("data.name", "data.fraction", "batch.size", "augment.repeats")
"""Fields under which the first epoch draws other images or other batches, so that every rate moves by chance."""

NOTABLE = 0.01
"""A rate that moves by more than this, without a field of its own having been changed, is told."""


@dataclass(frozen=True)
class Rate:
    """One realised rate on both sides, as shares between 0 and 1."""

    name: str
    """In words."""
    before: float | None
    """Of the reference: the mean over the seeds that both rows have; None where nothing is recorded."""
    after: float | None
    expected: bool
    """The row changes or declares a field that is there to move it, or changes what all rates are drawn from."""

    @property
    def notable(self) -> bool:
        """Whether it moved although nothing says that it should."""
        if self.before is None or self.after is None or self.expected:
            return False
        return abs(self.after - self.before) > NOTABLE


@dataclass(frozen=True)
class Proof:
    """What one row changes against its reference, in the first column that both have."""

    row: int
    label: str
    reference: str
    changes: tuple[Change, ...]
    parameters: float | None
    """Change in their number; None while a side is unknown."""
    macs: float | None
    """Change in multiply-adds of one forward pass of one image."""
    rates: tuple[Rate, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """`Remove Mixup: CutMix 50 % -> 100 %`, for each rate that moved beside what the row changes."""
        return tuple(
            f"{self.label}: {rate.name} {_percent(rate.before)} -> {_percent(rate.after)}"
            for rate in self.rates
            if rate.notable
        )


def proof(sweep: Sweep, store: Store, asked: Asked | None = None) -> tuple[Proof, ...]:
    """The proof of each row that is compared with another.

    `asked` has the keys of the sweep's trials (`collect.asked_of`); without it those of trainings are looked at.
    """
    asked = asked or ask(sweep)
    cells = {(cell.row, cell.column): cell for cell in sweep.cells}
    pairs = {row.index: pair for row in sweep.rows if (pair := pair_of(sweep, cells, row))}
    if not pairs:
        return ()
    both = {(cell.row, cell.column): cell for pair in pairs.values() for cell in pair}
    keys = {at: _keys(sweep, asked, cell) for at, cell in both.items()}
    flat = [key for found in keys.values() for _, key in found]
    stored, rates = outcomes_of(store, flat, ["parameters", "macs"]), noted(store, flat, list(RATES))
    known, changes = _Known(keys, stored, rates), changes_of(sweep)
    return tuple(_proof(sweep, sweep.rows[at], pair, changes[at], known) for at, pair in pairs.items())


@dataclass(frozen=True)
class _Known:
    """What is stored of the cells that are compared."""

    keys: Mapping[tuple[int, int], Sequence[tuple[int, str]]]
    """(row, column) -> (seed, key) of each trial of either kind."""
    stored: Mapping[str, StoredOutcome]
    rates: Mapping[str, Mapping[str, float]]

    def fact(self, cell: Cell, at: int) -> float | None:
        """A fact of the cell's model, which all of its trials share."""
        found = (self.stored[key].values[at] for _, key in self.keys[cell.row, cell.column] if key in self.stored)
        return next((value for value in found if value is not None), None)

    def mean(self, cell: Cell, other: Cell, name: str) -> float | None:
        """A rate of the cell over the seeds of which `other` has it too; over all of its own where there is none."""
        mine, theirs = self._by_seed(cell, name), self._by_seed(other, name)
        values = [mine[seed] for seed in mine if seed in theirs] or list(mine.values())
        return sum(values) / len(values) if values else None

    def _by_seed(self, cell: Cell, name: str) -> dict[int, float]:
        found = self.keys[cell.row, cell.column]
        return {seed: self.rates[key][name] for seed, key in found if name in self.rates.get(key, {})}


def _keys(sweep: Sweep, asked: Asked, cell: Cell) -> list[tuple[int, str]]:
    seeds = sweep.rows[cell.row].seeds
    return [pair for kind in sweep.kinds
            for pair in zip(seeds, asked.keys[cell.row, cell.column, kind], strict=True)]  # fmt: skip


def _proof(sweep: Sweep, row: Row, pair: tuple[Cell, Cell], changes: tuple[Change, ...], known: _Known) -> Proof:
    own, other = pair
    facts = [(known.fact(other, at), known.fact(own, at)) for at in range(2)]
    parameters, macs = (None if a is None or b is None else b - a for a, b in facts)
    return Proof(
        row=row.index,
        label=row.label,
        reference=sweep.rows[other.row].label,
        changes=changes,
        parameters=parameters,
        macs=macs,
        rates=tuple(_rates(row, own, other, changes, known)),
    )


def _rates(row: Row, own: Cell, other: Cell, changes: Sequence[Change], known: _Known) -> Iterator[Rate]:
    for name, (words, fields) in RATES.items():
        moved = any(change.path in (*fields, *REDRAWN) for change in changes)
        declared = any(covers(row.declares or (), field) for field in fields)
        expected = moved or declared or not changes  # a row that changes nothing shows how far chance moves it
        yield Rate(words, known.mean(other, own, name), known.mean(own, other, name), expected)


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.0f} %"
