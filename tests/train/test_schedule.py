"""Learning rates against torch's and timm's schedulers."""

import pytest
import torch
from timm.scheduler import CosineLRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from tinyablate.recipe import Model, Optimizer, Recipe, Schedule
from tinyablate.train.schedule import learning_rate

STEPS = 17
LR = 0.01


def rates(schedule: Schedule) -> list[float]:
    """The learning rate of every update."""
    recipe = Recipe(model=Model(name="test_vit"), optimizer=Optimizer(lr=LR), schedule=schedule)
    return [learning_rate(recipe, update, STEPS) for update in range(schedule.total_epochs * STEPS)]


def sgd() -> torch.optim.SGD:
    """An optimizer for a scheduler to act on."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


def torch_rates(scheduler: LRScheduler, steps: int) -> list[float]:
    """What a torch scheduler gives at each of `steps`."""
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def timm_rates(schedule: Schedule, unit: int) -> list[float]:
    """What timm's scheduler gives at each step, with `unit` steps an epoch, its warm-up set in front of the cosine."""
    optimizer, warmup = sgd(), schedule.warmup_epochs * unit
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=schedule.epochs * unit - int(warmup),
        lr_min=schedule.min_lr,
        warmup_t=int(warmup),
        warmup_lr_init=schedule.warmup_lr,
        warmup_prefix=True,
    )
    found = []
    for step in range(schedule.total_epochs * unit):
        scheduler.step(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def close(ours: list[float], theirs: list[float]) -> None:
    """Equal to rounding: torch computes its cosine by recursion."""
    torch.testing.assert_close(torch.tensor(ours).double(), torch.tensor(theirs).double(), rtol=1e-6, atol=1e-12)


def test_cosine_is_torchs() -> None:
    """Without warm-up the rate is CosineAnnealingLR's at every update."""
    ours = rates(Schedule(epochs=5, min_lr=1e-4))
    close(ours, torch_rates(CosineAnnealingLR(sgd(), T_max=5 * STEPS, eta_min=1e-4), 5 * STEPS))


def test_warmup_and_cosine_are_torchs_one_after_the_other() -> None:
    """A warm-up of a fraction of epochs is LinearLR's, and the cosine takes the updates that remain."""
    warmup = round(1.5 * STEPS)
    optimizer = sgd()
    phases = [
        LinearLR(optimizer, start_factor=0.1, total_iters=warmup),
        CosineAnnealingLR(optimizer, T_max=5 * STEPS - warmup),
    ]
    theirs = torch_rates(SequentialLR(optimizer, phases, milestones=[warmup]), 5 * STEPS)
    close(rates(Schedule(epochs=5, warmup_epochs=1.5, warmup_lr=1e-3)), theirs)


@pytest.mark.parametrize("per", ["update", "epoch"])
def test_warmup_cosine_and_cooldown_are_timms(per: str) -> None:
    """Per update and per epoch the rate is that of CosineLRScheduler with `warmup_prefix`, cooldown included."""
    schedule = Schedule(epochs=6, warmup_epochs=2, warmup_lr=1e-3, min_lr=1e-4, cooldown_epochs=2, per=per)
    each = [rate for rate in timm_rates(schedule, 1) for _ in range(STEPS)]
    close(rates(schedule), each if per == "epoch" else timm_rates(schedule, STEPS))


def test_a_rate_per_epoch_is_torchs_stepped_once_an_epoch() -> None:
    """All updates of an epoch have the rate that CosineAnnealingLR, stepped after every epoch, has in it."""
    ours = rates(Schedule(epochs=5, min_lr=1e-4, per="epoch"))
    each = torch_rates(CosineAnnealingLR(sgd(), T_max=5, eta_min=1e-4), 5)
    close(ours, [rate for rate in each for _ in range(STEPS)])
    assert len(set(ours)) == 5


def test_constant_keeps_the_peak_after_the_warmup() -> None:
    """`constant` is flat after its warm-up, its cooldown included."""
    ours = rates(Schedule(name="constant", epochs=2, warmup_epochs=1, cooldown_epochs=1))
    assert ours[0] == 0
    assert ours[STEPS:] == [LR] * 2 * STEPS
    stepped = rates(Schedule(name="constant", epochs=4, warmup_epochs=2, warmup_lr=LR / 4, per="epoch"))
    assert stepped[::STEPS] == [LR / 4, LR * 5 / 8, LR, LR]


def test_a_warmup_as_long_as_the_training_never_ends() -> None:
    """Where the warm-up takes every update, the rate rises to the end; a cooldown then has the cosine's last rate."""
    ours = rates(Schedule(epochs=2, warmup_epochs=2, min_lr=1e-5, cooldown_epochs=1))
    assert ours[: 2 * STEPS] == sorted(set(ours[: 2 * STEPS]))
    assert ours[2 * STEPS :] == [1e-5] * STEPS
