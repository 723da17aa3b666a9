"""Sweeps and values that figures are drawn of."""

from collections.abc import Sequence

HEAD = """
title = "Drawn"
select = "last"
seeds = [0, 1, 2, 3, 4, 5]
margin = 0.5
[baseline]
data.name = "shapes"
model.name = "test_vit"
model.pretrained = false
"""

PARTS = """
[components.parts.Mixup]
off.mix.mixup_alpha = 0.0
on.mix.mixup_alpha = 0.8
[components.parts.Erasing]
off.augment.erase_prob = 0.0
on.augment.erase_prob = 0.25
"""

ROWS = """
[[rows]]
label = "Default"
[[rows]]
label = "Worse"
group = "Some"
set.loss.smoothing = 0.1
[[rows]]
label = "Two seeds"
group = "Some"
set.loss.smoothing = 0.2
[[rows]]
label = "Diverged"
set.loss.smoothing = 0.3
[[rows]]
label = "Again"
seeds = [100, 101, 102, 103, 104, 105]
"""
SHARED = [88.0, 89.0, 87.0, 88.5, 87.5, 88.0]
"""What the seeds have in common."""
OFFSETS = [0.1, -0.1, 0.2, -0.2, 0.1, -0.1]
"""What differs beside, with a mean of zero."""

Values = dict[tuple[int, int], Sequence[float | None]]
"""(row, column) -> a value for each seed, None where that diverged; fewer than seeds: the rest is missing."""


def around(difference: float) -> list[float]:
    """Six values that lie by this much, on average, above the shared ones."""
    return [shared + difference + offset for shared, offset in zip(SHARED, OFFSETS, strict=True)]


VALUES: Values = {
    (0, 0): SHARED, (1, 0): around(-2.0), (2, 0): around(0.5)[:2], (3, 0): [None, None], (4, 0): SHARED[::-1],
}  # fmt: skip

GRID = """
[grid]
optimizer.lr = [1e-3, 3e-3]
optimizer.weight_decay = [0.0, 0.1, 0.2]
"""
