"""Where sweeps lie and which file a sweep's name means; copies bundled ones. It reads no sweep itself.

The folders `sweeps` and `workers` stand beside the package in a checkout and inside it in an installed wheel.
"""

import shutil
from pathlib import Path

from tinyablate.errors import SweepError, listed, nearest

MOST_CHARACTERS = 240
"""A file name may have 255 bytes on most file systems."""

RECIPE = "recipe.toml"
"""The file that a folder's sweeps extend; no sweep itself."""


def sweeps_folder() -> Path:
    """The folder of the bundled sweeps."""
    return _shipped("sweeps")


def workers_folder() -> Path:
    """The folder of the programs that are started on machines."""
    return _shipped("workers")


def names() -> tuple[str, ...]:
    """Every name that `resolve` takes: the sweeps in ./sweeps, then the bundled ones that they do not hide."""
    return tuple(dict.fromkeys([*_names_in(Path("sweeps")), *_names_in(sweeps_folder())]))


def resolve(argument: str) -> Path:
    """The file that a sweep argument means: a path to a .toml, else ./sweeps/NAME.toml, else a bundled NAME.

    Raises SweepError, with the nearest names, where there is none.
    """
    if len(argument) > MOST_CHARACTERS or "\0" in argument:
        raise SweepError([f"{argument[:40]}…: is too long for a sweep's name or path, or none at all"])
    if argument.endswith(".toml"):
        return _file_at(Path(argument), argument)
    for folder in (Path("sweeps"), sweeps_folder()):
        if argument in _names_in(folder):
            return folder / f"{argument}.toml"
    inside = [name for name in names() if name.startswith(f"{argument.strip('/')}/")]
    if inside:
        raise SweepError([f"{argument}: is a folder of sweeps; name one of {listed(inside)}"])
    if Path(argument).exists():
        raise SweepError([f"{argument}: is no sweep file; its name would end in .toml"])
    raise SweepError([f"{argument}: no such sweep{nearest(argument, names())} (`tinyablate sweeps` lists them)"])


def resolve_all(argument: str) -> list[Path]:
    """The files that a sweep argument means: one as `resolve` has it, or every sweep of a folder, sorted by name.

    A folder is one of ./sweeps or a bundled one by its name, with all that is in it, or a path: of such a folder they
    are those directly in it. Raises SweepError.
    """
    inside = _named_in(argument)
    if inside:
        return [resolve(name) for name in inside]
    return _files_in(Path(argument), argument) if is_path_of_folder(argument) else [resolve(argument)]


def is_path_of_folder(argument: str) -> bool:
    """Whether the argument means a folder of sweeps by its path, and not by a name."""
    try:
        return bool(argument) and Path(argument).is_dir() and not _named_in(argument)
    except (OSError, ValueError):  # too long, or with a null byte: `resolve` tells
        return False


def _named_in(folder: str) -> list[str]:
    """Names of the sweeps in the folder of this name."""
    name = folder.rstrip("/")
    return [each for each in names() if name and each.startswith(f"{name}/")]


def _files_in(folder: Path, argument: str) -> list[Path]:
    """The sweep files directly in `folder`. A SweepError where there is none."""
    files = sorted(path for path in folder.glob("*.toml") if path.name != RECIPE)
    if files:
        return files
    below = sorted({str(path.parent) for path in folder.glob("*/*.toml") if path.name != RECIPE})
    raise SweepError([f"{argument}: holds no sweep file" + (f"; folders in it do: {listed(below)}" if below else "")])


def copy(name: str, dest: Path) -> list[Path]:
    """Copy the bundled sweep `name` to `dest/NAME.toml`, and what it extends beside it; the files written.

    The name of a folder stands for all of its sweeps. A file that is there already with the same content is kept.
    Raises SweepError, before anything is written, where one has another content: nothing is overwritten.
    """
    from tinyablate.sweep.load import files_of

    if dest.exists() and not dest.is_dir():
        raise SweepError([f"{dest}: is not a folder; sweeps are copied into one"])
    files = [files_of(sweeps_folder() / f"{each}.toml") for each in _bundled_under(name)]
    sources = dict.fromkeys(source.resolve() for found in files for source in found)
    targets = {source: dest / source.relative_to(sweeps_folder().resolve()) for source in sources}
    new = {source: target for source, target in targets.items() if not _same(source, target)}
    taken = [str(target) for target in new.values() if target.exists()]
    if taken:
        raise SweepError([f"{path}: exists and differs; it is not overwritten" for path in taken])
    try:
        for source, target in new.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    except OSError as error:
        raise SweepError([f"{dest}: cannot be written: {error.strerror}"]) from error
    return list(new.values())


def _bundled_under(name: str) -> list[str]:
    """The bundled sweep of this name, or those of the folder of this name. Raises SweepError."""
    bundled, folder = _names_in(sweeps_folder()), name.rstrip("/")
    found = [each for each in bundled if each == folder or (folder and each.startswith(f"{folder}/"))]
    if not found:
        folders = sorted({each.rpartition("/")[0] for each in bundled})
        raise SweepError([f"{name}: no bundled sweep{nearest(name, [*bundled, *folders])}; valid: {listed(bundled)}"])
    return found


def _shipped(folder: str) -> Path:
    package = Path(__file__).parent
    inside = package / "_bundled" / folder
    return inside if inside.is_dir() else package.parent / folder


def _names_in(folder: Path) -> tuple[str, ...]:
    """Names of the sweeps in `folder`, sorted."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.toml") if path.name != RECIPE)
    return tuple(path.with_suffix("").as_posix() for path in files)


def _file_at(path: Path, argument: str) -> Path:
    """`path`, where it is a file that can be a sweep."""
    if path.name == RECIPE and path.is_file():
        raise SweepError([f"{argument}: holds only the recipe that other files extend; name a sweep beside it"])
    if path.is_dir():
        raise SweepError([f"{argument}: is a directory, not a sweep file"])
    if not path.exists():
        beside = [str(path.parent / each.name) for each in path.parent.glob("*.toml") if each.name != RECIPE]
        guess = nearest(argument, beside) or nearest(argument.removesuffix(".toml"), names())
        raise SweepError([f"{argument}: no such file{guess} (`tinyablate sweeps` lists the bundled sweeps)"])
    return path


def _same(source: Path, target: Path) -> bool:
    return target.is_file() and target.read_bytes() == source.read_bytes()
