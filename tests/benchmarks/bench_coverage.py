"""What the intervals and tests of a table do where no row differs: coverage, and how often a difference is claimed.

    make bench NAME=coverage       about three minutes on one core

8,000 tables of each kind (`arms`), so that two standard errors are half a point. Coverage is that of 95 % intervals
over the rows of tables of a baseline and five rows; of `pooled` also at the row that it covers least, and how often its
check calls it unfair. Claims are the tables, in %, in which any row that does not differ is called different, or any
row that differs by the margin is called equivalent: 5 at most is promised. From 30 seeds, where sign patterns are
drawn, 2,000 tables.
"""

import argparse
import json
import time
from collections.abc import Mapping

import common
import numpy as np
from arms import KINDS, arms, covers

from tinyablate.tables import stats

TABLES = 8_000
ROWS = 5
SEEDS = (3, 5, 6, 10, 30)
FAMILIES = ((5, 10), (6, 5), (6, 10), (10, 5), (10, 10), (30, 10))
"""(seeds, rows) of the tables whose claims are counted."""


def intervals(kind: str, seeds: int, tables: int) -> dict[str, float]:
    """Coverage in % of every kind of interval at `seeds` seeds."""
    random = np.random.default_rng([1, KINDS.index(kind), seeds])
    values = arms(kind, random, tables, ROWS + 1, seeds)
    paired = stats.paired(values[:, 1:], values[:, :1])
    welch = stats.welch(values[:, 1:], arms(kind, random, tables, ROWS + 1, seeds)[:, :1])  # other seeds: unpaired
    low, high = stats.prediction(values)
    more = arms(kind, random, tables, ROWS + 1, 1)[..., 0]
    pools = [stats.pooled(table, [None, *[0] * ROWS]) for table in values]
    pooled = np.array([covers(pool.low[1:], pool.high[1:]) for pool in pools]).mean(axis=0)
    found = {
        "paired t": covers(paired.low, paired.high).mean(),
        "pooled": pooled.mean(),
        "pooled, worst row": pooled.min(),
        "unfair": np.mean([pool.p_fair <= stats.ALPHA for pool in pools]),
        "Welch": covers(welch.low, welch.high).mean(),
        "prediction": np.mean((low <= more) & (more <= high)),
        "Stein": two_stages(kind, random, seeds, tables),
    }
    if seeds >= stats.LEAST_VALUES:
        found["BCa"] = bootstrapped(values[:, 1] - values[:, 0])
    return {name: 100 * float(value) for name, value in found.items()}


def bootstrapped(differences: np.ndarray) -> float:
    """Coverage of BCa with 1,000 resamples, a tenth of what tables use."""
    ends = np.array([stats.bca(row, resamples=1000, seed=at) for at, row in enumerate(differences)])
    return float(covers(ends[:, 0], ends[:, 1]).mean())


def two_stages(kind: str, random: np.random.Generator, first: int, tables: int) -> float:
    """Coverage of Stein's interval: `first` pairs, then up to four times as many, for 2/3 of the usual half width."""
    values = arms(kind, random, tables, 2, 4 * first)
    differences = values[:, 1] - values[:, 0]
    early = stats.paired(differences[:, :first], np.zeros(1))
    asked = float(np.median(early.high - early.low)) / 3
    total = [stats.stein(row[:first], asked, 4 * first) for row in differences]
    taken = np.where(np.arange(4 * first) < np.array(total)[:, None], differences, np.nan)
    found = stats.stein_interval(taken, first)
    return float(covers(found.low, found.high).mean())


def claims(kind: str, seeds: int, rows: int, tables: int) -> dict[str, float]:
    """Share of tables, in %, with any false claim, by each method."""
    random = np.random.default_rng([2, KINDS.index(kind), seeds, rows])
    values = arms(kind, random, tables, rows + 1, seeds)
    differences = values[:, 1:] - values[:, :1]
    paired = stats.paired(differences, np.zeros(1))
    adjusted = np.array([stats.max_t(table) for table in differences])
    holm = np.array([stats.holm(stats.sign_flip(table)) for table in differences])
    half = np.where(np.arange(rows)[:, None] % 2, 1.0, 0.0)  # every other row truly differs, by a whole point
    partly = np.array([stats.max_t(table) for table in differences + half])[:, ::2]
    margin = float(np.median(paired.high - paired.low))
    equivalent = stats.equivalent_p(differences + margin, margin)  # every row differs by just the margin
    family = np.array([stats.holm(table) for table in equivalent])
    return {
        "no adjustment": any_of(~covers(paired.low, paired.high)),
        "max-T": any_of(adjusted <= stats.ALPHA),
        "max-T, half differ": any_of(partly <= stats.ALPHA),
        "Holm": any_of(holm <= stats.ALPHA),
        "verdict": any_of(called(paired, adjusted, seeds)),
        "equivalent, a row": 100 * float((equivalent <= stats.ALPHA).mean()),
        "equivalent, Holm": any_of(family <= stats.ALPHA),
    }


def any_of(claimed: np.ndarray) -> float:
    """Tables (first axis) with any claim, in %."""
    return 100 * float(claimed.any(axis=1).mean())


def called(paired: stats.Difference, adjusted: np.ndarray, seeds: int) -> np.ndarray:
    """Where the verdict is better or worse."""
    found = np.zeros(adjusted.shape, dtype=bool)
    for at in np.ndindex(*adjusted.shape):
        one = stats.verdict(
            paired.low[at], paired.high[at], seeds, adjusted[at], None, "max", None, stats.least_pairs(), None, 1, 2
        )
        found[at] = one is not None and one.kind in ("better", "worse")
    return found


def printed(title: str, lines: Mapping[tuple[str, ...], Mapping[str, float]]) -> None:
    """A Markdown table of percentages."""
    names = max((list(line) for line in lines.values()), key=len)
    first = max(lines)
    print(f"\n| {title} |" + " |" * (len(first) - 1) + "".join(f" {name} |" for name in names))
    print("|" + "---|" * (len(first) + len(names)))
    for key, line in lines.items():
        numbers = (f" {line[name]:.1f} |" if name in line else " |" for name in names)
        print("".join(f"| {word} " for word in key) + "|" + "".join(numbers))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tables", type=int, default=TABLES)
    tables, start = options.parse_args().tables, time.process_time()
    coverage = {(kind, f"n = {seeds}"): intervals(kind, seeds, tables) for kind in KINDS for seeds in SEEDS}
    claimed = {
        (kind, f"n = {seeds}", f"k = {rows}"): claims(kind, seeds, rows, tables if seeds < 30 else tables // 4)
        for kind in KINDS
        for seeds, rows in FAMILIES
    }
    print(common.machine())
    printed("coverage, %", coverage)
    printed("false claims, %", claimed)
    figures = {
        ", ".join([*key, name]): round(value, 2)
        for lines in (coverage, claimed)
        for key, line in lines.items()
        for name, value in line.items()
    }
    print(json.dumps({"ratios": {}, "figures": {**figures, "CPU seconds": round(time.process_time() - start, 1)}}))


if __name__ == "__main__":
    main()
