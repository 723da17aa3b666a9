"""What every column of the views means: name, type, unit and a line of words. It reads no database."""

import ast
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from tinyablate import recipe
from tinyablate.store import schema

ColumnType = Literal["integer", "real", "text", "boolean"]

VIEWS = {
    "trials": "one line per trial: its recipe field by field, its state, and the numbers of the attempt that counts",
    "cells": "one line per trial and place in a sweep's table; a trial that fills several places has several lines",
    "epochs": "one line per trial and epoch: the curve of the attempt that counts",
    "outcomes": "one line per result, those of superseded attempts included",
}
"""View -> what a line of it is."""

RENAMED = {"results": "trials", "curves": "epochs"}
"""Views of earlier versions -> what they are called now."""


@dataclass(frozen=True)
class ViewColumn:
    """A column of a view."""

    name: str
    type: ColumnType
    unit: str
    """Empty where it has none."""
    meaning: str


@functools.cache
def views() -> Mapping[str, tuple[ViewColumn, ...]]:
    """View -> its columns, in their order there."""
    return {
        "trials": (
            *_columns(_TRIAL + _OBSERVED + _SCORES + _FACTS + _ENVIRONMENT + _TIMES + _IDENTITY),
            *_recipe(),
        ),
        "cells": tuple(_columns(_PLACE + _CELL + _SCORES)),
        "epochs": tuple(_columns(_EPOCH)),
        "outcomes": tuple(_columns(_ATTEMPT + _OBSERVED + _SCORES + _FACTS + _CORE + _ENVIRONMENT + _TIMES)),
    }


def _columns(text: str) -> Iterator[ViewColumn]:
    """The columns that `text` describes, a line each: name | type | unit | meaning."""
    types: Mapping[str, ColumnType] = {"integer": "integer", "real": "real", "text": "text", "boolean": "boolean"}
    for line in filter(None, text.splitlines()):
        name, kind, unit, meaning = (part.strip() for part in line.split("|"))
        yield ViewColumn(name, types[kind], unit, meaning)


_TRIAL = """
trial | text | | key of the trial: a hash of its recipe, seed and data
kind | text | | train, or measure: a measurement of speed
measured_on | text | | device that a measurement is made on; NULL for a training
seed | integer | | seed of every random choice; the replicate
state | text | | pending, running, complete, diverged or failed
core_version | integer | | version of the training core that its result comes from
sweeps | text | | names of the sweeps that it is in, separated by commas
attempts | integer | | how often it was tried
device_hours | real | h | wall time of all its attempts; of a job that computed several trials, its share
"""
_SCORES = """
diverged_epoch | integer | | epoch in which the loss stopped being finite; NULL where it did not
best_epoch | integer | | epoch with the highest val_top1; of several, the earliest
best_val_top1 | real | % | top-1 accuracy at the best epoch, chosen on the images that it is measured on
best_val_top5 | real | % | top-5 accuracy at the best epoch
best_val_loss | real | | mean cross-entropy over the evaluated images at the best epoch
best_train_loss | real | | mean training loss of the best epoch, augmented and smoothed as trained
last_val_top1 | real | % | top-1 accuracy at the last epoch
last_val_top5 | real | % | top-5 accuracy at the last epoch
last_val_loss | real | | mean cross-entropy over the evaluated images at the last epoch
last_train_loss | real | | mean training loss of the last epoch, augmented and smoothed as trained
cross_fitted_val_top1 | real | % | top-1 accuracy, at the best epoch of half of the images, scored on the other half
"""
_OBSERVED = """
observer | text | | weights that were evaluated: raw, or ema, their moving average
epochs | integer | | how many epochs it has results of; 0 of a measurement
"""
_FACTS = """
parameters | integer | | parameters of the model
trainable_parameters | integer | | those that were trained
macs | integer | | multiply-accumulates of one image's forward pass
checkpoint_bytes | integer | B | size of the model's weights as a file
layers | integer | | layers that timm's layer-wise learning rates count
width | integer | | features that enter the classifier
epoch_seconds | real | s | measured time of an epoch
train_images_per_second | real | images/s | measured speed of training
inference_images_per_second | real | images/s | measured speed of inference
train_peak_memory | integer | B | measured peak of the device's memory in training
"""
_ENVIRONMENT = """
host | text | | name of the machine that computed the result
device | text | | its device
torch | text | | version of torch
timm | text | | version of timm
git_commit | text | | commit of tinyablate's source, with +changes where files differed from it
train_digest | text | | digest of the training core's source
"""
_TIMES = """
started_at | real | s | when the attempt began, in seconds since 1970 (UTC)
ended_at | real | s | when it ended
"""
_IDENTITY = """
updated_at | real | s | when the trial's state last changed
fingerprint | text | | of the data set: a part of the key
recipe | text | | what differs from the defaults, as JSON: a part of the key
"""
_PLACE = """
sweep | text | | name of the sweep
title | text | | its title
digest | text | | version of the sweep: a hash of its file and of what it was run with
smoke | boolean | | whether it was run with --smoke
overrides | text | | what it was run with by --set, a line each
created_at | real | s | when this version was first run, in seconds since 1970 (UTC)
latest | boolean | | whether no newer version was run with the same name, smoke and overrides
row_index | integer | | row of the table, counted from 0
column_index | integer | | column of the second axis, counted from 0
row_label | text | | label of the row
column_label | text | | label of the column; empty without a second axis
"""
_CELL = """
trial | text | | key of the trial that fills the place
kind | text | | train, or measure: a measurement of speed
seed | integer | | its seed: the replicate
state | text | | pending, running, complete, diverged or failed
"""
_EPOCH = """
trial | text | | key of the trial
seed | integer | | its seed
observer | text | | weights that were evaluated: raw, or ema, their moving average
epoch | integer | | counted from 1
lr | real | | learning rate of the epoch's last update
train_loss | real | | mean loss over the epoch's updates, augmented and smoothed as trained
val_loss | real | | mean cross-entropy over the evaluated images
val_top1 | real | % | top-1 accuracy
val_top5 | real | % | top-5 accuracy
seconds | real | s | time of training and evaluation; NULL where the job held more than one trial
images_per_second | real | images/s | training images per second; NULL where the job held more than one trial
"""
_ATTEMPT = """
trial | text | | key of the trial
kind | text | | train, or measure: a measurement of speed
seed | integer | | its seed
attempt | integer | | which try at the trial it was, counted from 1
state | text | | complete or diverged
accepted | boolean | | whether it counts; false: superseded, by a newer core or because its lease was lost
"""
_CORE = """
core_version | integer | | version of the training core that computed it
"""


def _recipe() -> Iterator[ViewColumn]:
    """A column for each of the recipe's fields."""
    meanings = recipe_meanings()
    for path in recipe.field_specs():
        name = schema.column_name(path)
        yield ViewColumn(name, type_of(schema.variants.c[name]), "", meanings[path])


def type_of(column: "sa.Column[object]") -> ColumnType:
    """What a column of a table holds."""
    kinds: tuple[tuple[type, ColumnType], ...] = ((sa.Boolean, "boolean"), (sa.Integer, "integer"), (sa.Float, "real"))
    return next((name for kind, name in kinds if isinstance(column.type, kind)), "text")


@functools.cache
def recipe_meanings() -> Mapping[str, str]:
    """Dotted path of a recipe's field -> the first sentence that stands under it in `recipe`."""
    classes = {node.name: node for node in ast.parse(inspect.getsource(recipe)).body if isinstance(node, ast.ClassDef)}
    top = _explained(classes["Recipe"])
    found = {}
    for path in recipe.field_specs():
        section, _, leaf = path.rpartition(".")
        found[path] = _explained(classes[section.capitalize()])[leaf] if section else top[path]
    return found


def _explained(section: ast.ClassDef) -> dict[str, str]:
    """Field -> the first sentence of the text under it, in one line."""
    texts = {}
    for field, text in zip(section.body, section.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            words = " ".join(str(ast.literal_eval(text.value)).split())
            texts[field.target.id] = re.split(r"(?<!al)\.(?= |$)", words)[0]
    return texts
