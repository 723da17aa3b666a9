"""What a sweep's statistics can reach with the seeds that it plans: known before anything is run."""

from collections import Counter

from tinyablate.plan import SweepPlan
from tinyablate.sweep import metrics
from tinyablate.sweep.schema import Sequential, Sweep
from tinyablate.tables.words import counted

NAMES = {"max-t": "max-T", "holm": "Holm"}


def reach_lines(part: SweepPlan) -> list[str]:
    """A line on the comparisons of the sweep and their seeds; none where nothing gets a p."""
    sweep = part.sweep
    pairs, tests = pairs_of(sweep), sum(metrics.lookup(name).tested for name in sweep.metrics)
    if not pairs or not tests:
        return []
    if sweep.sequential is not None:
        done = all(trial.state == "done" for trial in part.trials.values())
        return [_stage(sweep, sweep.sequential, done)]
    columns = Counter(column for _, column in pairs)
    family = max(columns.values()) if sweep.family == "column" else len(pairs) * tests
    return [_reach(sweep, family, min(pairs.values()))]


def pairs_of(sweep: Sweep) -> dict[tuple[int, int], int]:
    """(row, column) of each comparison between rows that share seeds -> how many seeds they share."""
    cells = {(cell.row, cell.column) for cell in sweep.cells}
    found = {}
    for row, column in sorted(cells):
        reference = sweep.rows[row].reference
        if reference is not None and (reference, column) in cells:
            found[row, column] = len(set(sweep.rows[row].seeds) & set(sweep.rows[reference].seeds))
    return {at: count for at, count in found.items() if count}


def _stage(sweep: Sweep, rule: Sequential, done: bool) -> str:
    """Where a sequential sweep stands."""
    most = max(len(row.seeds) for row in sweep.rows if not row.null)
    if most > rule.least:
        return f"stage 2 of 2: {rule.least} to {most} seeds a row, as the differences of stage 1 asked for"
    if done:
        return f"stage 1 of 2 was enough: {rule.least} seeds a row"
    return f"stage 1 of 2: {rule.least} seeds a row; up to {rule.most}, until half_width < {rule.half_width:g}"


def _reach(sweep: Sweep, family: int, pairs: int) -> str:
    """What p the comparisons of a family can reach with this many pairs of seeds."""
    from tinyablate.tables import stats  # late: numpy

    least = stats.least_pairs(family, sweep.test)
    p = min(1.0, stats.least_p(pairs) * (family if sweep.test == "holm" else 1))
    start = f"{counted(family, 'comparison')} over {counted(pairs, 'seed')}"
    if pairs >= least:
        return f"{start}: p can reach {p:.2g} ({NAMES[sweep.test]})"
    return f"{start}: none can reach 5 % below {least} seeds ({NAMES[sweep.test]}); intervals do not need them"
