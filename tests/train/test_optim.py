"""Learning rates against torch's schedulers, weight decay against timm's groups."""

import timm
import torch
from timm.optim import param_groups_weight_decay
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from tinyablate.recipe import Model, Optimizer, Recipe, Schedule
from tinyablate.train.optim import build_optimizer, learning_rate, parameter_groups

STEPS = 17


def rates(schedule: Schedule, lr: float = 0.01) -> list[float]:
    """The learning rate of every update."""
    recipe = Recipe(model=Model(name="test_vit"), optimizer=Optimizer(lr=lr), schedule=schedule)
    return [learning_rate(recipe, update, STEPS) for update in range(schedule.epochs * STEPS)]


def torch_rates(scheduler: torch.optim.lr_scheduler.LRScheduler, updates: int) -> list[float]:
    """What a torch scheduler gives at each of `updates`."""
    found = []
    for _ in range(updates):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def sgd(lr: float = 0.01) -> torch.optim.SGD:
    """An optimizer for a scheduler to act on."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def close(ours: list[float], theirs: list[float]) -> None:
    """Equal to rounding."""
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


def test_constant_keeps_the_peak_after_the_warmup() -> None:
    """`constant` is flat after its warm-up."""
    ours = rates(Schedule(name="constant", epochs=2, warmup_epochs=1))
    assert ours[0] == 0
    assert ours[STEPS:] == [0.01] * STEPS


def test_a_warmup_as_long_as_the_training_never_ends() -> None:
    """Where the warm-up takes every update, the rate rises to the end."""
    ours = rates(Schedule(epochs=2, warmup_epochs=2))
    assert ours == sorted(ours)
    assert len(set(ours)) == 2 * STEPS


def test_decay_all_is_one_group_of_what_is_trained() -> None:
    """`all` decays every trained parameter and leaves frozen ones out."""
    module = timm.create_model("test_vit", num_classes=5)
    module.patch_embed.proj.weight.requires_grad_(False)
    (group,) = parameter_groups(module, "all", 0.1)
    assert group["weight_decay"] == 0.1
    assert len(list(module.parameters())) == len(group["params"]) + 1


def test_decay_timm_is_timms_grouping() -> None:
    """`timm` puts each parameter into the group that timm's own function puts it into, exempt names included."""
    for name in ("test_vit", "test_resnet", "swin_tiny_patch4_window7_224"):
        with torch.device("meta"):
            module = timm.create_model(name, num_classes=5)
        exempt = getattr(module, "no_weight_decay", tuple)()
        theirs = {
            group["weight_decay"]: {id(p) for p in group["params"]}
            for group in param_groups_weight_decay(module, 0.1, no_weight_decay_list=exempt)
        }
        ours = {
            group["weight_decay"]: {id(p) for p in group["params"]} for group in parameter_groups(module, "timm", 0.1)
        }
        assert ours == theirs


def test_sgd_is_nesterov_only_where_the_recipe_says_so() -> None:
    """The name `sgd` does not mean Nesterov, as it does in timm."""
    module = torch.nn.Linear(2, 2)
    for nesterov in (False, True):
        optimizer = build_optimizer(Optimizer(name="sgd", nesterov=nesterov), module, fused=False)
        assert type(optimizer) is torch.optim.SGD
        assert optimizer.param_groups[0]["nesterov"] is nesterov
        assert optimizer.param_groups[0]["momentum"] == 0.9
