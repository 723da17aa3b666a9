"""The tables of the results database, and the ordered migrations that made them. No reads, no writes of results.

People read the views `trials`, `cells`, `epochs` and `outcomes` (described in `columns`), which stand on the tables
`stored_trials`, … of which only this package knows.

A trial is a variant (a recipe without its seed) under one seed. Attempts are tries at a trial; every result row belongs
to the attempt that computed it, and `trials.accepted_attempt_id` says which attempt counts. Times are Unix seconds.
"""

import types
import typing
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    TypeDecorator,
    UniqueConstraint,
)  # fmt: skip

from tinyablate.recipe import field_specs

SCHEMA_VERSION = 5

metadata = MetaData()


class Text(TypeDecorator[str]):
    """Text that both databases take: NUL and halves of surrogate pairs, which PostgreSQL refuses, are replaced."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it is stored."""
        return value and value.replace("\0", "\ufffd").encode(errors="replace").decode()


Whole = BigInteger().with_variant(Integer(), "sqlite")
"""Ids, seeds, counts and bytes: 64 bits, which SQLite's INTEGER has anyway."""


def column_name(path: str) -> str:
    """The column of `variants` that holds the recipe field at `path`: `mix.mixup_alpha` -> `mix_mixup_alpha`."""
    return path.replace(".", "_")


def _column_type(annotation: Any) -> Any:
    """Column type of a recipe field; tuples and tables are JSON text, for people to read."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        annotation = type(typing.get_args(annotation)[0])
    return {bool: Boolean(), int: Whole, float: Float()}.get(annotation, Text())


schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("applied_at", Float, nullable=False),
    Column("tinyablate", Text, nullable=False),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("smoke", Boolean, nullable=False),
    Column("overrides", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("sweeps_by_name", "name"),
)

variants = Table(
    "variants",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("canonical", Text, nullable=False),
    *(Column(column_name(path), _column_type(spec.type)) for path, spec in field_specs().items()),
)

trials = Table(
    "stored_trials",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("variant_id", ForeignKey("variants.id"), nullable=False),
    Column("seed", Whole, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("measured_on", Text),
    Column("state", Text, nullable=False),
    Column("core_version", Integer),
    Column("fence", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", Float),
    Column("accepted_attempt_id", Whole),
    Column("updated_at", Float, nullable=False),
    Column("counted_from", Integer, nullable=False),
    Index("trials_by_variant", "variant_id", "seed"),
    Index("trials_by_state", "state"),
)

cells = Table(
    "stored_cells",
    metadata,
    Column("sweep_id", ForeignKey("sweeps.id"), primary_key=True),
    Column("row_index", Integer, primary_key=True),
    Column("column_index", Integer, primary_key=True),
    Column("trial_id", ForeignKey("stored_trials.id"), primary_key=True),
    Column("row_label", Text, nullable=False),
    Column("column_label", Text, nullable=False),
    Index("cells_by_trial", "trial_id"),
    sqlite_with_rowid=False,  # the primary key is the row: half the size
)

environments = Table(
    "environments",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("host", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("driver", Text, nullable=False),
    Column("python", Text, nullable=False),
    Column("torch", Text, nullable=False),
    Column("torchvision", Text, nullable=False),
    Column("timm", Text, nullable=False),
    Column("ray", Text, nullable=False),
    Column("tinyablate", Text, nullable=False),
    Column("core_version", Integer, nullable=False),
    Column("train_digest", Text, nullable=False),
    Column("git_commit", Text, nullable=False),
    Column("data_digest", Text, nullable=False),
    Column("weights_digest", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("compiled", Boolean, nullable=False),
    Column("memory_format", Text, nullable=False),
    UniqueConstraint(
        "host", "device", "driver", "python", "torch", "torchvision", "timm", "ray", "tinyablate", "core_version",
        "train_digest", "git_commit", "data_digest", "weights_digest", "threads", "compiled", "memory_format",
        name="one_of_each",
    ),
)  # fmt: skip

attempts = Table(
    "attempts",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("trial_id", ForeignKey("stored_trials.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("directory", Text, nullable=False),
    Column("environment_id", ForeignKey("environments.id")),
    Column("micro_batch", Integer),
    Column("from_epoch", Integer),
    Column("epoch", Integer),
    Column("images_per_second", Float),
    Column("cause", Text),
    Column("message", Text),
    Column("traceback", Text),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("job_trials", Integer, nullable=False),
    Column("from_step", Integer),
    UniqueConstraint("trial_id", "number", name="one_attempt_per_number"),
)

FACTS: dict[str, type[Integer | Float[float]]] = {
    "parameters": Integer,
    "trainable_parameters": Integer,
    "macs": Integer,
    "checkpoint_bytes": Integer,
    "layers": Integer,
    "width": Integer,
    "epoch_seconds": Float,
    "train_images_per_second": Float,
    "inference_images_per_second": Float,
    "train_peak_memory": Integer,
}
"""Columns of `outcomes` that hold what `Outcome.metrics` says of the model and its speed: counts, bytes, seconds."""

outcomes = Table(
    "stored_outcomes",
    metadata,
    Column("attempt_id", ForeignKey("attempts.id"), primary_key=True),
    Column("trial_id", ForeignKey("stored_trials.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("observer", Text),
    Column("epochs", Integer, nullable=False),
    Column("diverged_epoch", Integer),
    Column("best_epoch", Integer),
    *(
        Column(f"{rule}_{name}", Float)
        for rule in ("best", "last")
        for name in ("val_top1", "val_top5", "val_loss", "train_loss")
    ),
    *(Column(name, Whole if kind is Integer else kind) for name, kind in FACTS.items()),
    Column("cross_fitted_val_top1", Float),
    Index("outcomes_by_trial", "trial_id"),
)

epochs = Table(
    "stored_epochs",
    metadata,
    Column("attempt_id", ForeignKey("attempts.id"), primary_key=True),
    Column("observer", Text, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("trial_id", ForeignKey("stored_trials.id"), nullable=False),
    Column("lr", Float),
    Column("train_loss", Float),
    Column("val_loss", Float),
    Column("val_top1", Float),
    Column("val_top5", Float),
    Column("seconds", Float),
    Column("images_per_second", Float),
    sqlite_with_rowid=False,  # a trial's epochs lie together, in order
)

metrics = Table(
    "metrics",
    metadata,
    Column("attempt_id", ForeignKey("attempts.id"), primary_key=True),
    Column("observer", Text, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("trial_id", ForeignKey("stored_trials.id"), nullable=False),
    Column("value", Float),
    Index("metrics_by_trial", "trial_id"),
)

correctness = Table(
    "correctness",
    metadata,
    Column("attempt_id", ForeignKey("attempts.id"), primary_key=True),
    Column("observer", Text, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("trial_id", ForeignKey("stored_trials.id"), nullable=False),
    Column("bits", LargeBinary, nullable=False),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("attempt_id", ForeignKey("attempts.id"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("trial_id", ForeignKey("stored_trials.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", Whole, nullable=False),
)

limits = Table(
    "limits",
    metadata,
    Column("model", Text, primary_key=True),
    Column("image_size", Integer, primary_key=True),
    Column("trainable", Text, primary_key=True),
    Column("precision", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("micro_batch", Integer, nullable=False),
    Column("noted_at", Float, nullable=False),
)

estimates = Table(
    "estimates",
    metadata,
    Column("sweep_id", ForeignKey("sweeps.id"), primary_key=True),
    Column("made_at", Float, primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("device", Text, nullable=False),
    Column("devices", Integer, nullable=False),
    Column("trials_each", Integer, nullable=False),
    Column("device_hours", Float, nullable=False),
    Column("disk_bytes", Whole, nullable=False),
    Column("jobs", Integer, nullable=False),
    Column("from_history", Integer, nullable=False),
    Column("from_calibration", Integer, nullable=False),
)

protocols = Table(
    "protocols",
    metadata,
    Column("name", Text, primary_key=True),
    Column("smoke", Boolean, primary_key=True),
    Column("noted_at", Float, primary_key=True),
    Column("metric", Text, nullable=False),
    Column("selection", Text, nullable=False),
    Column("margin", Float),
    Column("family", Text, nullable=False),
    Column("test", Text, nullable=False),
    Column("seeds_rule", Text, nullable=False),
    Column("digest", Text, nullable=False),
)

extensions = Table(
    "extensions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("smoke", Boolean, primary_key=True),
    Column("row_label", Text, primary_key=True),
    Column("column_label", Text, primary_key=True),
    Column("noted_at", Float, primary_key=True),
    Column("from_n", Integer, nullable=False),
    Column("to_n", Integer, nullable=False),
    Column("first_n", Integer, nullable=False),
    Column("sd", Float),
    Column("half_width", Float),
)


drivers = Table(
    "drivers",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("log", Text),
    Column("stop_asked", Boolean, nullable=False),
)


def _written_out(name: str) -> Callable[[Connection], None]:
    """The step whose SQL stands in the file `name`, as it was released. Never edited; changes are later versions."""

    def step(connection: Connection) -> None:
        for statement in files("tinyablate.store").joinpath(name).read_text().split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)

    return step


def _version_4(connection: Connection) -> None:
    """Views under the names that people look for, and the cross-fitted score of every result that has its bits."""
    from tinyablate.store.cross_fit import back_fill

    _written_out("version_4.sql")(connection)
    back_fill(connection)


MIGRATIONS: types.MappingProxyType[int, Callable[[Connection], None]] = types.MappingProxyType(
    {
        1: _written_out("version_1.sql"),  # all tables, and two views for people
        2: _written_out("version_2.sql"),  # the data path's recipe fields
        3: _written_out("version_3.sql"),  # the core's recipe fields, measurements, micro-batches found, estimates
        4: _version_4,  # views for people, cross-fitted scores, protocols, extensions
        5: _written_out("version_5.sql"),  # retries that are counted, drivers, steps within an epoch
    }
)
"""Version -> the step that leads to it from the one before; each runs in one transaction with its record."""

POSTGRESQL: types.MappingProxyType[int, Callable[[Connection], None]] = types.MappingProxyType(
    {5: _written_out("version_5.postgresql.sql")}
)
"""The same for PostgreSQL, which tinyablate knows from schema version 5 on: a new database begins with that."""
