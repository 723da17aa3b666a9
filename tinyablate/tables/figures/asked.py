"""Which figures the command line means: those that sweep files declare, or new ones. It draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyablate.errors import SweepError, UsageError, listed, nearest
from tinyablate.sweep.figure import KINDS, OWN, SIZES, default_cost, default_metric, named, refusal, refused_size
from tinyablate.sweep.schema import Figure, FigureKind, Look, Sweep

Limits = tuple[float, float]


@dataclass(frozen=True)
class Wishes:
    """What every figure of a command has instead of what its file says. None, empty or true: as it says."""

    rows: tuple[str, ...] = ()
    xlim: Limits | None = None
    ylim: Limits | None = None
    width: float | None = None
    height: float | None = None
    font_size: float | None = None
    title: bool = True
    notes: bool = True


def wanted(
    sweeps: Sequence[Sweep],
    kind: str | None = None,
    metric: str | None = None,
    cost: str | None = None,
    wishes: Wishes = Wishes(),
    out: Path | None = None,
) -> list[tuple[Sweep, Figure]]:
    """The figures of these sweeps: all that are declared, else those of `kind`; of a sweep without them a new one.

    Of several sweeps those without a figure are passed over where no kind is named. Raises SweepError where nothing is
    declared, UsageError for an unknown kind or metric, a wish that cannot be, and several figures for one `out`.
    """
    some = any(sweep.figures for sweep in sweeps)
    asking = [sweep for sweep in sweeps if kind or sweep.figures or not some]
    found = [(sweep, spec) for sweep in asking for spec in asked(sweep, kind, metric, cost, wishes)]
    if out and len(found) > 1:
        raise UsageError(f"--out {out}: {len(found)} figures would have this name; name one kind with --kind")
    return found


def asked(
    sweep: Sweep,
    kind: str | None = None,
    metric: str | None = None,
    cost: str | None = None,
    wishes: Wishes = Wishes(),
) -> tuple[Figure, ...]:
    """The figures that are meant of one sweep; see `wanted`."""
    if kind is not None:
        found = _of_kind(sweep, kind, metric, cost)
    elif metric or cost:
        raise UsageError(f"--{'metric' if metric else 'cost'} needs --kind, one of {listed(KINDS)}")
    elif not sweep.figures:
        usual = "curves" if "train" in sweep.kinds else "cost"
        raise SweepError([
            f'{sweep.path}: has no figure; add [figure] with metric = "val_top1", or another metric, or name a kind: '
            f"tinyablate figure {sweep.name} --kind {usual}"
        ])  # fmt: skip
    else:
        found = sweep.figures
    for key in SIZES:
        given = getattr(wishes, key)
        if given is not None and (rule := refused_size(key, given)):
            raise UsageError(f"--{key.replace('_', '-')} {given:g}: {rule}")
    return tuple(_as_wished(spec, wishes) for spec in found)


def _as_wished(spec: Figure, wishes: Wishes) -> Figure:
    look = Look(
        wishes.width or spec.look.width, wishes.height or spec.look.height, wishes.font_size or spec.look.font_size,
        wishes.title and spec.look.title, wishes.notes and spec.look.notes,
    )  # fmt: skip
    across = _limits(spec.kind, "xlim", wishes.xlim) or spec.xlim
    up = _limits(spec.kind, "ylim", wishes.ylim) or spec.ylim
    return replace(spec, rows=wishes.rows or spec.rows, xlim=across, ylim=up, look=look)


def _limits(kind: FigureKind, key: str, given: Limits | None) -> Limits | None:
    """The ends of an axis. Raises UsageError where they are none, or the kind has no such axis."""
    if given is None:
        return None
    if not given[0] < given[1] or given[0] - given[0] or given[1] - given[1]:
        raise UsageError(f"--{key} {given[0]:g} {given[1]:g}: must be two numbers, the lower one first")
    if key not in OWN.get(kind, ()):
        fine = [each for each in KINDS if key in OWN.get(each, ())]
        raise UsageError(f"--{key}: a figure of kind '{kind}' has no such axis of numbers; valid for {listed(fine)}")
    return given


def _of_kind(sweep: Sweep, kind: str, metric: str | None, cost: str | None) -> tuple[Figure, ...]:
    """The declared figures of this kind, metric and cost; a new one where there is none."""
    known = next((each for each in KINDS if each == kind), None)
    if known is None:
        raise UsageError(f"--kind {kind}: must be one of {listed(KINDS)}{nearest(kind, KINDS)}")
    if cost and known != "cost":
        raise UsageError(f"--cost {cost}: only a figure of kind 'cost' has a second metric")
    for option, given in (("metric", metric), ("cost", cost)):
        if given and (rule := refusal(known, given)):
            raise UsageError(f"--{option} {given}: {rule}")
    declared = tuple(
        spec for spec in sweep.figures
        if spec.kind == known and metric in (None, spec.metric) and cost in (None, spec.cost)
    )  # fmt: skip
    if declared:
        return declared
    shown = metric or default_metric(known, sweep.metrics)
    other = (cost or default_cost(shown, sweep.metrics)) if known == "cost" else ""
    return (Figure(known, shown, {}, other, name=named(known, shown, sweep.metrics)),)
