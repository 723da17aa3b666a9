"""Which figures the command line means: those that sweep files declare, or new ones. It draws nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tinyablate.errors import SweepError, UsageError, listed, nearest
from tinyablate.sweep.figure import KINDS, default_cost, default_metric, named, refusal
from tinyablate.sweep.schema import Figure, Sweep


def wanted(
    sweeps: Sequence[Sweep],
    kind: str | None = None,
    metric: str | None = None,
    cost: str | None = None,
    rows: Sequence[str] = (),
    out: Path | None = None,
) -> list[tuple[Sweep, Figure]]:
    """The figures of these sweeps: all that are declared, else those of `kind`; of a sweep without them a new one.

    Of several sweeps those without a figure are passed over where no kind is named. Raises SweepError where nothing is
    declared, UsageError for an unknown kind or metric, and where several figures would go to one `out`.
    """
    some = any(sweep.figures for sweep in sweeps)
    asking = [sweep for sweep in sweeps if kind or sweep.figures or not some]
    found = [(sweep, spec) for sweep in asking for spec in asked(sweep, kind, metric, cost, rows)]
    if out and len(found) > 1:
        raise UsageError(f"--out {out}: {len(found)} figures would have this name; name one kind with --kind")
    return found


def asked(
    sweep: Sweep, kind: str | None = None, metric: str | None = None, cost: str | None = None, rows: Sequence[str] = ()
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
    return tuple(replace(spec, rows=tuple(rows)) for spec in found) if rows else found


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
