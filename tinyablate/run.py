"""What a run is asked to do, and the joint of plan and store: what is stored becomes a plan, a plan is registered.

Jobs are handed out by `dispatch`, whoever computes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinyablate.model_facts import ModelFacts, Request, splits_of
from tinyablate.plan import Asked, Plan, SweepPlan, ask, make_plan, unique
from tinyablate.store.records import CellOf, NewTrial, SweepRecord
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.protocol import protocol_of
from tinyablate.tables.sequential import extended, extension_text, extensions, records
from tinyablate.terminal import say
from tinyablate.worker import TRAIN


@dataclass(frozen=True)
class Weights:
    """A file of pretrained weights."""

    path: Path
    digest: str
    """sha256, 16 hexadecimal digits."""


@dataclass(frozen=True)
class RunRequest:
    """Everything `run` needs, settled and checked, before anything starts."""

    name: str
    """Of the sweep, or of the folder of sweeps."""
    sweeps: tuple[Sweep, ...]
    database: str
    """What `store.location.Location` reads; absolute where it is a path."""
    data_home: Path
    machine: str
    """Name of the device, which the keys of measurements hold."""
    facts: Mapping[Request, ModelFacts] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    """Model name -> its pretrained weights."""
    share: bool = True
    """Whether trials are computed together where the mathematics is the same."""
    cache_features: bool | None = None
    """Keep features of evaluated images; None is wherever that is safe."""
    compile: bool = False
    weights_dir: Path | None = None
    """Folder with files of pretrained weights."""
    device: str = "auto"
    slots: int | None = None
    """Trials at a time; None is one per CPU core, or `trials_per_gpu` per GPU."""
    trials_per_gpu: int = 1
    micro_batch: int | None = None
    checkpoint_minutes: float | None = None
    """Save also between the ends of epochs, when so many minutes have passed; None: never."""
    hang_minutes: float = 30.0
    """A job that ends no time slice for so long hangs: its worker is killed, its trials are tried again."""
    max_lost: int | None = None
    """A trial has failed after so many attempts whose worker, machine or driver went away; None: never."""
    keep_weights: bool = False
    learner: str = TRAIN
    format: str = "terminal"
    """Of the tables that are printed at the end."""
    log: str | None = None
    """File of the driver's output, where it runs without a terminal."""
    changes: tuple[str, ...] = ()
    """Options that made other sweeps of the files: `--smoke`, `--set`, …"""
    more: tuple[str, ...] = ()
    """Options of the commands that are proposed: which database, without a password."""

    def asked(self, store: Store) -> list[Asked]:
        """The sweeps with their trials' keys, with as many seeds as rules ask for by what the store has now."""
        return [ask(extended(sweep, store), self.machine) for sweep in self.sweeps]

    def plan(self, asked: Sequence[Asked], store: Store) -> Plan:
        """The plan of the sweeps as the store has it now."""
        return make_plan(asked, store.states(unique(asked)), splits=splits_of(self.facts), share=self.share)

    @property
    def words(self) -> tuple[str, ...]:
        """The sweeps and their database as arguments of a command."""
        return (self.name, *self.changes, *self.more)


def register(store: Store, plan: Plan, machine: str) -> None:
    """Make a plan's sweeps, trials and cells known to the store; `machine` names what measurements are made on."""
    for part in plan.parts:
        _register(store, part, machine)


def _register(store: Store, part: SweepPlan, machine: str) -> None:
    sweep = part.sweep
    record = SweepRecord(sweep.digest, sweep.name, sweep.title, sweep.text, sweep.smoke, "\n".join(sweep.overrides))
    new = [
        NewTrial(
            trial.key, trial.recipe, trial.canonical, trial.seed, trial.fingerprint,
            trial.kind, machine if trial.kind == "measure" else None,
        )
        for trial in part.trials.values()
    ]  # fmt: skip
    cells = [
        CellOf(row, column, sweep.rows[row].label, sweep.columns[column].label, key)
        for (row, column, _), keys in part.cells.items()
        for key in keys
    ]
    store.register(record, new, cells)


def note_rules(sweeps: Sequence[Sweep], store: Store) -> None:
    """Keep with the results how each sweep decides, and, telling it once, which rows got further seeds by its rule."""
    for sweep in sweeps:
        store.note_protocol(sweep.name, sweep.smoke, protocol_of(sweep))
        found = records(sweep, extensions(sweep, store))
        known = store.extensions(sweep.name, sweep.smoke) if found else []
        for record in (record for record in found if record not in known):
            store.note_extension(sweep.name, sweep.smoke, record)
            say(f"{sweep.name}: {extension_text(record)}")
