"""A report as a folder of files that opens from disk: written whole, unchanged files left alone, stale ones removed."""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from tinyablate.errors import UsageError
from tinyablate.report.site import Site
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Sweep
from tinyablate.tables.whole import put

FOLDER = Path("results/report")
MANIFEST = "manifest.txt"
"""Names every file of the report: what a later one may overwrite or remove, and nothing else."""
HEADING = "# files of a tinyablate report"


def write_report(sweeps: Sequence[Sweep], store: Store, out: Path, machine: str = "") -> list[Path]:
    """Write the report of these sweeps into the folder `out`, which then holds this report and none of an earlier one.

    The paths of its files, index.html first. `machine` names the device whose measurements are shown. Equal results
    give equal bytes. Raises UsageError where the folder has a file of that name which no report wrote.
    """
    site, earlier = Site(sweeps, machine), _listed(out / MANIFEST)
    names = list(site.paths(store))
    _refuse_others(out, [*names, MANIFEST], {*earlier, MANIFEST} if earlier else set())
    put(out / MANIFEST, _manifest({*earlier, *names}))  # first: a killed report's files are known as a report's
    for name in names:
        put(out / name, _rendered(site, name, store))
    for name in earlier - set(names):
        _remove(out, name)
    put(out / MANIFEST, _manifest(names))
    return [out / name for name in names]


def _rendered(site: Site, name: str, store: Store) -> bytes:
    content = site.page(name, store)
    assert content is not None, name
    return content


def _listed(manifest: Path) -> set[str]:
    """Names of the files that an earlier report wrote; none where the file is not a report's."""
    try:
        heading, *names = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError):
        return set()
    return {name for name in names if _inside(name)} if heading == HEADING else set()


def _inside(name: str) -> bool:
    """Whether the name stays within the report's folder: another's manifest must not remove files elsewhere."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts


def _manifest(names: Collection[str]) -> bytes:
    return "\n".join([HEADING, *sorted(names), ""]).encode()


def _refuse_others(out: Path, names: Collection[str], ours: Collection[str]) -> None:
    """Raises UsageError where a file has the name of one of ours and is not."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; a report is a folder")
    for name in names:
        if name not in ours and (out / name).exists():
            raise UsageError(f"--out {out}: {name} is there and no report wrote it; name another folder")


def _remove(out: Path, name: str) -> None:
    """A file of an earlier report, with folders that are empty then; nothing behind a link that leads elsewhere."""
    if not (out / name).parent.resolve().is_relative_to(out.resolve()):
        return
    with contextlib.suppress(OSError):
        (out / name).unlink()
    with contextlib.suppress(OSError):
        for folder in PurePosixPath(name).parents[:-1]:
            (out / folder).rmdir()
