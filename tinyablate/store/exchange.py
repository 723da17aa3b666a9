"""Results out of a database into a folder of Parquet files, and such a folder's into another database. See `form`."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from tinyablate import durable
from tinyablate.errors import StoreError, UsageError, listed, nearest
from tinyablate.store import form
from tinyablate.store.driver import answers
from tinyablate.store.importing import Imported, import_folder
from tinyablate.store.parquet import write
from tinyablate.store.query import Swept, swept
from tinyablate.store.store import Store

__all__ = ["Imported", "export", "import_folder"]

_PART = re.compile(r"^# ---- (.+) ----$", re.MULTILINE)
"""The line before each of the files that a sweep's text is made of."""


def export(store: Store, folder: Path, only: Sequence[str] = (), anonymous: bool = False) -> Path:
    """Write the results to `folder`, in typed Parquet files with the sweeps' files beside them; those of the sweeps
    (or folders of sweeps) `only`, if any are named.

    With `anonymous` machines are called host-1, host-2, …, and error messages and tracebacks, which name paths, are
    left out. Written again with nothing changed, the files have the same bytes. What else is in the folder stays.
    Raises UsageError on an unknown sweep, StoreError where the folder holds something else.
    """
    versions = _chosen(swept(store), only)
    texts = _sweep_files(versions)
    earlier = _make_ready(folder, texts.keys())
    trials, sweeps = _conditions([each.name for each in versions]) if only else ("TRUE", "TRUE")
    with store.backend.snapshot() as connection:  # all files show the same moment
        change = _numbered(connection, trials) | (_unnamed(connection) if anonymous else {})
        if only:
            change |= {"sweeps": _only({each.name for each in versions})}
        for stem, file in form.files().items():
            with answers(connection, file.sql(trials, sweeps)) as rows:
                write(folder / f"{stem}.parquet", file.columns, rows, "", change)
    for name in earlier - texts.keys():
        (folder / name).unlink(missing_ok=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        durable.write(folder / name, text.encode())
    _put_manifest(folder, form.Manifest.of(folder, sorted(texts)))
    return folder


def _chosen(versions: Sequence[Swept], only: Sequence[str]) -> list[Swept]:
    """The versions of the sweeps called so, or in a folder called so; of all, where none is named."""
    names = list(dict.fromkeys(each.name for each in versions))
    for name in only:
        if not any(_is_of(each, name) for each in names):
            known = f"; names: {listed(names)}" if names else "; no sweep was run yet"
            raise UsageError(f"{name}: was never run with this database{nearest(name, names)}{known}")
    return [each for each in versions if not only or any(_is_of(each.name, name) for name in only)]


def _is_of(name: str, asked: str) -> bool:
    return name == asked or name.startswith(asked.rstrip("/") + "/")


def _make_ready(folder: Path, names: Set[str]) -> set[str]:
    """Make the folder one of an export under way, with `names` in sweeps/; what an earlier export wrote there.

    Its manifest comes first, without results: what is half written is no export to import from, but known as ours.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_ours = (folder / form.MANIFEST).is_file()
        if not is_ours and any(folder.glob("*.parquet")):
            raise StoreError(f"{folder}: holds other Parquet files; export into a folder of its own")
        earlier = set(filter(_is_inside, form.read_manifest(folder).sweeps)) if is_ours else set[str]()
        for name in sorted(names - earlier):
            if (folder / name).exists():  # a user's own sweep: the folder is where sweeps are worked on
                raise StoreError(f"{folder / name}: is there and no export wrote it; export into a folder of its own")
        _put_manifest(folder, form.Manifest.begun(sorted(names | earlier)))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}") from error
    return earlier


def _put_manifest(folder: Path, manifest: form.Manifest) -> None:
    durable.write(folder / form.MANIFEST, manifest.text().encode())


def _is_inside(name: str) -> bool:
    """Whether the manifest names a file in sweeps/, and none elsewhere."""
    path = PurePosixPath(name)
    return path.parts[:1] == ("sweeps",) and ".." not in path.parts


def _conditions(names: Sequence[str]) -> tuple[str, str]:
    """What holds of t.key for the trials of these sweeps, and of s.name for the sweeps."""
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(set(names)))
    of_sweeps = f"s.name IN ({quoted})"
    keys = (
        "SELECT x.key FROM sweeps s JOIN stored_cells c ON c.sweep_id = s.id JOIN stored_trials x ON x.id = c.trial_id"
    )
    return f"t.key IN ({keys} WHERE {of_sweeps})", of_sweeps


def _numbered(connection: sa.Connection, trials: str) -> dict[str, Callable[[Any], Any]]:
    """Environments counted from 1: their ids have gaps where one was left out, or was not needed after all."""
    file = form.files()["environments"]
    at = [column.name for column in file.columns].index("id")
    with answers(connection, file.sql(trials, "TRUE")) as rows:
        ids = {row[at]: number for number, row in enumerate(itertools.chain.from_iterable(rows), start=1)}
    return {"id": ids.get, "environment_id": ids.get}


def _unnamed(connection: sa.Connection) -> dict[str, Callable[[Any], Any]]:
    """How columns change that tell whose machines they were."""
    hosts = connection.exec_driver_sql("SELECT host FROM environments GROUP BY host ORDER BY min(id)").scalars().all()
    names: Mapping[str, str] = {host: f"host-{number}" for number, host in enumerate(hosts, start=1)}
    return {"host": names.get, "message": lambda _: None, "traceback": lambda _: None}


def _only(names: set[str]) -> Callable[[str | None], str | None]:
    """Leaves these names of a list of sweeps' names."""
    return lambda text: ", ".join(name for name in text.split(", ") if name in names) if text else text


# ---- the sweeps' files -----------------------------------------------------------------------------------------------


def _sweep_files(versions: Sequence[Swept]) -> dict[str, str]:
    """The files that each sweep was run from, for people; of several versions the latest has the plain name.

    Name, relative to the export's folder -> text.
    """
    files: dict[str, str] = {}
    for version in versions:
        for name, text in _parts(version):
            path = PurePosixPath("sweeps") / name
            if files.setdefault(str(path), text) != text:
                path = path.with_name(f"{path.stem}.{_tame(version.digest[:8])}{path.suffix}")
                files[str(path)] = text
    return files


def _parts(version: Swept) -> list[tuple[str, str]]:
    """The names, below sweeps/, and texts of the files of a sweep: its own, what it extends, published curves."""
    name = "/".join(map(_tame, version.name.split("/")))
    _, *found = _PART.split(version.text)
    if not found:
        return [(f"{name}.toml", version.text)]
    texts = [text.removeprefix("\n").removesuffix("\n") for text in found[1::2]]
    beside = PurePosixPath(name).parent
    others = [str(beside / _tame(PurePosixPath(other).name)) for other in found[2::2]]
    return list(zip([f"{name}.toml", *others], texts, strict=True))


def _tame(part: str) -> str:
    """A part of a path that stays where it is put, whatever a database calls its sweeps."""
    return re.sub(r"[^\w.+=@ -]|^\.+", "_", part).encode()[:200].decode(errors="ignore") or "_"
