"""The form in which results travel: which files a folder holds, their columns, from which SELECT; and its manifest.

`trials`, `cells`, `epochs` and `outcomes` are the views; the others hold what is needed beside them to make a database
again. A trial is named by its key, an attempt by the trial's key and its number.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyablate import __version__
from tinyablate.errors import StoreError
from tinyablate.store import schema
from tinyablate.store.columns import type_of
from tinyablate.store.parquet import FileColumn, arrow_type, columns_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    import sqlalchemy as sa

FORM = 1
"""Version of the form. A change that an older `import` cannot read raises it."""

MANIFEST = "export.json"
"""Written last with the files' digests: a folder in which it has them is whole."""

MOST_MANIFEST_BYTES = 16 * 2**20

_TRIAL = (FileColumn("trial", "text"), FileColumn("attempt", "integer"))


@dataclass(frozen=True)
class FormFile:
    """One of the folder's files."""

    columns: tuple[FileColumn, ...]
    source: str
    """What follows the columns in the SELECT, with `{trials}` and `{sweeps}` for the conditions on t.key and s.name."""
    prefix: str = ""
    """Of the columns in the SELECT."""
    order: str = "1, 2"

    def sql(self, trials: str, sweeps: str) -> str:
        """The SELECT of those trials, or those sweeps, for which the conditions hold."""
        named = {"trial": "t.key AS trial", "attempt": "a.number AS attempt"} if self.prefix else {}
        names = [named.get(column.name, f"{self.prefix}{column.name}") for column in self.columns]
        return f"SELECT {', '.join(names)} {self.source.format(trials=trials, sweeps=sweeps)} ORDER BY {self.order}"


def files() -> Mapping[str, FormFile]:
    """Every file by its name, without `.parquet`."""
    view = "FROM {} s WHERE {}".format
    # CROSS JOIN makes SQLite begin with the table on its left, as JOIN does not; with ON it is an error in PostgreSQL.
    attempts = "FROM stored_trials t CROSS JOIN attempts a"
    of_attempt = "WHERE a.trial_id = t.id AND {trials}"
    of_epoch = f"{of_attempt} AND x.attempt_id = a.id"
    rules = "s.name, smoke, noted_at"
    return {
        "trials": FormFile(columns_of("trials"), _of_view("trials"), order="trial"),
        "outcomes": FormFile(columns_of("outcomes"), _of_view("outcomes"), order="trial, attempt"),
        "epochs": FormFile(columns_of("epochs"), _of_view("epochs"), order="trial, observer, epoch"),
        "cells": FormFile(
            columns_of("cells"),
            "FROM (SELECT sweep AS name, * FROM cells) s WHERE {sweeps}",
            order="sweep, created_at, digest, row_index, column_index, trial",
        ),
        "attempts": FormFile(
            (*_TRIAL, *_some(schema.attempts, _ATTEMPT)),
            f"{attempts} {of_attempt} AND a.state != 'running'", "a.",
        ),
        "superseded_epochs": FormFile(
            (*_TRIAL, *_some(schema.epochs)),
            f"{attempts} CROSS JOIN stored_epochs x {of_epoch} AND a.state = 'superseded'",
            "x.", "1, 2, x.observer, x.epoch",
        ),
        "metrics": FormFile(
            (*_TRIAL, *_some(schema.metrics)),
            f"{attempts} CROSS JOIN metrics x {of_epoch}",
            "x.", "1, 2, x.observer, x.epoch, x.name",
        ),
        "correctness": FormFile(
            (*_TRIAL, *_some(schema.correctness)),
            f"{attempts} CROSS JOIN correctness x {of_epoch}",
            "x.", "1, 2, x.observer, x.epoch",
        ),
        "environments": FormFile(
            _some(schema.environments, [column.name for column in schema.environments.c]),
            f"FROM environments WHERE id IN (SELECT a.environment_id {attempts} {of_attempt})", order="id",
        ),
        "sweeps": FormFile(
            _some(schema.sweeps, ("name", "digest", "title", "smoke", "overrides", "created_at", "text")),
            view("sweeps", "{sweeps}"), order="s.name, created_at, digest",
        ),
        "protocols": FormFile(
            _some(schema.protocols, [column.name for column in schema.protocols.c]),
            view("protocols", "{sweeps}"), order=rules,
        ),
        "extensions": FormFile(
            _some(schema.extensions, [column.name for column in schema.extensions.c]),
            view("extensions", "{sweeps}"), order=rules + ", row_label, column_label",
        ),
    }  # fmt: skip


_ATTEMPT = (
    "state", "job", "job_trials", "environment_id", "micro_batch", "from_epoch", "from_step", "epoch",
    "images_per_second", "cause", "message", "traceback", "started_at", "heartbeat_at", "ended_at",
)  # fmt: skip
"""Columns of `attempts` that mean something elsewhere; owner, fence and directory do not."""


def _of_view(name: str) -> str:
    return f"FROM (SELECT trial AS key, * FROM {name}) t WHERE {{trials}}"


def _some(table: "sa.Table", names: Sequence[str] = ()) -> tuple[FileColumn, ...]:
    """Columns of a table; without names all but its ids."""
    columns = [column for column in table.c if (column.name in names if names else not column.name.endswith("_id"))]
    return tuple(FileColumn(column.name, "binary" if column.name == "bits" else type_of(column)) for column in columns)


# ---- the manifest ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Manifest:
    """What a folder says of itself."""

    form: int
    tinyablate: str
    schema_version: int
    sweeps: tuple[str, ...]
    """The sweeps' files for people, relative to the folder."""
    files: Mapping[str, str]
    """File -> sha256 of its bytes."""

    @classmethod
    def of(cls, folder: Path, sweeps: Sequence[str]) -> "Manifest":
        """That of a folder whose files are written."""
        digests = {name: _digest(folder / name) for name in (f"{stem}.parquet" for stem in files())}
        return cls(FORM, __version__, schema.SCHEMA_VERSION, tuple(sweeps), digests)

    @classmethod
    def begun(cls, sweeps: Sequence[str]) -> "Manifest":
        """That of a folder whose files are being written: it names no results."""
        return cls(FORM, __version__, schema.SCHEMA_VERSION, tuple(sweeps), {})

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises StoreError where it is none of ours, or one that is newer than this program."""
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f"{folder}: holds no results to import (no {MANIFEST}); `tinyablate export DIR` writes such")
    try:
        with path.open("rb") as stream:
            found = json.loads(stream.read(MOST_MANIFEST_BYTES))
        form, version = int(found["form"]), str(found["tinyablate"])
        names = {str(name): str(digest) for name, digest in found["files"].items()}
        manifest = Manifest(form, version, int(found["schema_version"]), tuple(map(str, found["sweeps"])), names)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: is not as `tinyablate export` writes it: {str(error)[:200]}") from error
    if form > FORM or manifest.schema_version > schema.SCHEMA_VERSION:
        raise StoreError(
            f"{folder}: was written by tinyablate {version[:20]} in a newer form than this tinyablate {__version__} "
            "reads. Upgrade: pip install --upgrade tinyablate"
        )
    return manifest


def check(folder: Path) -> None:
    """Raises StoreError where a file is absent or was changed since it was written."""
    manifest = read_manifest(folder)
    if not manifest.files:
        raise StoreError(f"{folder}: is half an export, which was stopped; run its `tinyablate export` again")
    for name in (f"{stem}.parquet" for stem in files()):
        path = folder / name
        if name not in manifest.files or not path.is_file():
            raise StoreError(f"{path}: is missing; the folder is not as `tinyablate export` wrote it")
        if _digest(path) != manifest.files[name]:
            raise StoreError(f"{path}: was changed since it was written (its digest is not that of {MANIFEST})")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ---- reading ---------------------------------------------------------------------------------------------------------


def rows(folder: Path, stem: str, names: Sequence[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """These columns of a file, in lists of rows; one that the file lacks is None. Raises StoreError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{stem}.parquet"
    try:
        with pq.ParquetFile(path) as file:
            there = _typed(path, stem, file)
            for batch in file.iter_batches(columns=[name for name in names if name in there]):
                empty = [None] * batch.num_rows
                yield list(zip(*(batch[name].to_pylist() if name in there else empty for name in names), strict=True))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read: {str(error)[:200]}") from error


def _typed(path: Path, stem: str, file: "pq.ParquetFile") -> set[str]:
    """The columns that are there. StoreError where one is of another type than it should be."""
    found = {field.name: field.type for field in file.schema_arrow}
    if len(found) < len(file.schema_arrow):
        raise StoreError(f"{path}: has two columns of one name")
    for column in files()[stem].columns:
        if column.name in found and found[column.name] != arrow_type(column.type):
            raise StoreError(f"{path}: column {column.name} is {found[column.name]}; valid: {arrow_type(column.type)}")
    return set(found)
