"""The learning rate over time, before any share that a parameter group has of it. It knows no optimizer."""

import math

from tinyablate.recipe import Recipe


def learning_rate(recipe: Recipe, update: int, steps: int) -> float:
    """Learning rate of the update number `update` (from 0) in a training of `steps` updates an epoch.

    Time t is the update, or with `per = "epoch"` the epoch (from 0) that it belongs to; W and T are the warm-up and
    `epochs` in the same unit: round(warmup_epochs * steps) updates, or warmup_epochs as it stands.

    - t < W: linear, warmup_lr + (lr - warmup_lr) * t / W.
    - W <= t < T: constant, or half a cosine, min_lr + (lr - min_lr) * (1 + cos(pi * (t - W) / (T - W))) / 2.
    - t >= T, the cooldown: lr or min_lr, where the schedule ended.

    That is torch's LinearLR followed by CosineAnnealingLR (Loshchilov & Hutter 2017, without restarts), stepped once an
    update or once an epoch, and timm 1.0.31's CosineLRScheduler of T - W with `warmup_prefix`. (Without that option
    timm's cosine runs over all of T, so that it is already below `lr` when the warm-up ends.)
    """
    schedule, peak = recipe.schedule, recipe.optimizer.lr
    time, warmup, end = float(update), float(round(schedule.warmup_epochs * steps)), schedule.epochs * steps
    if schedule.per == "epoch":
        time, warmup, end = float(update // steps), schedule.warmup_epochs, schedule.epochs
    if time >= end:
        return peak if schedule.name == "constant" else schedule.min_lr
    if time < warmup:
        return schedule.warmup_lr + (peak - schedule.warmup_lr) * time / warmup
    if schedule.name == "constant":
        return peak
    done = (time - warmup) / (end - warmup)
    return schedule.min_lr + (peak - schedule.min_lr) * (1 + math.cos(math.pi * done)) / 2
