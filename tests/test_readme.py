"""The examples in the README files, run against the published results of the demo.

Commands that only look, or write beside the database, are run as they stand, and what the README shows under them is
what they print. Those that train, prepare or download, serve until they are stopped, or are about a sweep that the
published results do not have are read by the real command line, with their options and the sweeps they name, and not
run: `run`, `serve`, `data …`, `doctor`, `plan --calibrate`, `table --watch`. Of other programs make's targets are
looked up. TOML goes through the real loader, Python is run.
"""

import gc
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import tinyablate
from tinyablate import api, bundled
from tinyablate.cli import app
from tinyablate.sweep.load import load

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results" / "published"
FILES = [ROOT / "README.md", *(ROOT / folder / "README.md" for folder in ("sweeps", "results", "results/published"))]

NOT_RUN = {"run", "serve", "data", "doctor"}
"""Commands that train, prepare, download, wait, or look at the machine."""

PROGRAMS = {"git", "cd", ".", "pip", "sqlite3", "datasette", "duckdb", "latexmk", "pdflatex"}
"""What else stands in the examples, and is taken at its word."""


@dataclass(frozen=True)
class Example:
    """A command in a README, with what is shown under it."""

    place: str
    line: str
    output: tuple[str, ...] = ()


# ---- reading ---------------------------------------------------------------------------------------------------------


def fenced(text: str, language: str) -> list[str]:
    """The contents of the blocks that are fenced and marked with this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def indented(text: str) -> list[str]:
    """The blocks that are indented by four spaces, without those spaces, outside of fences."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    blocks = re.findall(r"(?:^\n|\A)((?:^ {4}.*\n|^\n(?= {4}))+)", outside, re.M)
    return [re.sub(r"^ {4}", "", block, flags=re.M) for block in blocks]


def examples(path: Path) -> Iterator[Example]:
    """The commands of a file: lines after `$ ` in console blocks, and those that begin with `tinyablate`."""
    text, place = path.read_text(), str(path.relative_to(ROOT))
    for block in fenced(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, *output = part.rstrip("\n").split("\n")
            yield Example(place, line, tuple(output))
    for block in indented(text):
        yield from (Example(place, line) for line in block.splitlines() if line.startswith("tinyablate "))


def commands(example: Example) -> list[list[str]]:
    """The words of each command of a line, without comments."""
    lexer = shlex.shlex(example.line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&|;"):
            found.append([])
        else:
            found[-1].append(word)
    return found


EXAMPLES = [each for path in FILES for each in examples(path)]


# ---- a place to run in -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Path]:
    """A folder with the demo's published results as its database, the README's own sweep, and nothing else."""
    folder = tmp_path_factory.mktemp("readme")
    kept = {name: value for name, value in os.environ.items() if name.startswith("TINYABLATE_")}
    before = Path.cwd()
    for name in kept:
        del os.environ[name]
    os.environ |= {"TINYABLATE_CACHE": str(shared / "cache"), "MPLBACKEND": "Agg"}
    os.chdir(folder)
    shutil.copytree(PUBLISHED, folder / "results" / "published")
    invoke(["import", "results/published/demo"])
    invoke(["copy", "demo/ablation"])
    (mine,) = (text for text in fenced((ROOT / "README.md").read_text(), "toml") if "demo/recipe.toml" in text)
    (folder / "sweeps" / "mine.toml").write_text(mine)
    yield folder
    os.chdir(before)
    del os.environ["TINYABLATE_CACHE"], os.environ["MPLBACKEND"]
    os.environ |= kept


def invoke(words: Sequence[str]) -> str:
    """What `tinyablate WORDS` prints on stdout, in this process."""
    try:
        done = CliRunner().invoke(app, list(words), prog_name="tinyablate", catch_exceptions=False)
    finally:
        gc.enable()  # `table` switches it off, as its process ends with it
    assert done.exit_code == 0, done.output
    return done.stdout


def read(words: Sequence[str]) -> Mapping[str, object]:
    """The arguments that the real command line reads from WORDS; fails where there is no such command or option."""
    command: click.Command = app
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = command.commands[rest.pop(0)]
    return command.make_context("tinyablate", rest).params


def sweeps_of(params: Mapping[str, object]) -> list[str]:
    """Names of the sweeps that a command's arguments are about."""
    named = params.get("sweep") or ()
    given = [named] if isinstance(named, str) else [str(each) for each in named]  # type: ignore[attr-defined]
    return [name for argument in given if argument != "all" for name in map(str, bundled.resolve_all(argument))]


def has_results(path: str) -> bool:
    """Whether the published results have this sweep's trials."""
    return "demo/ablation" in path or path.endswith("mine.toml")


# ---- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"{each.place}: {each.line[:60]}")
def test_examples_work(folder: Path, example: Example) -> None:
    """The command runs, or is read where it would train; what stands under it is what it prints."""
    for words in commands(example):
        program, *rest = words
        if program == "tinyablate":
            params = read(rest)
            names = sweeps_of(params)
            waits = params.get("calibrate") or params.get("watch")
            if rest[0] in NOT_RUN or waits or not all(map(has_results, names)):
                assert not example.output, "the output of a command that is not run cannot be checked"
            else:
                check_output(example, invoke(rest))
        elif program == "make":
            check_make(rest)
        elif program in ("python", "python3"):
            done = subprocess.run([sys.executable, *rest], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        else:
            assert program in PROGRAMS, f"{program}: what is it?"


def check_output(example: Example, printed: str) -> None:
    """What is shown is what is printed; a line `…` stands for any number of lines."""
    if example.output:
        parts = ["(?:.*\n)*?" if line == "…" else re.escape(line.rstrip()) + " *\n" for line in example.output]
        assert re.fullmatch("".join(parts), printed), printed


def check_make(words: Sequence[str]) -> None:
    """The targets exist, and so do the benchmarks."""
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, _, value = word.partition("=")
        if value:
            assert name == "NAME"
            assert (ROOT / "tests" / "benchmarks" / f"bench_{value}.py").is_file(), word
        else:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.M), word


def test_every_command_named_in_a_text_exists() -> None:
    """`tinyablate X` in backticks, whatever follows, is a command."""
    for path in FILES:
        for name in re.findall(r"`tinyablate ([a-z]+)", path.read_text()):
            assert name in app.commands, f"{path.name}: tinyablate {name}"


def toml_blocks() -> list[tuple[str, str]]:
    """(file, text) of each TOML example."""
    found = []
    for path in FILES:
        text = path.read_text()
        blocks = fenced(text, "toml") + [b for b in indented(text) if re.match(r"\[|\w+ *= ", b)]
        found += [(str(path.relative_to(ROOT)), block) for block in blocks]
    return found


@pytest.mark.parametrize(("place", "text"), toml_blocks(), ids=lambda value: value[:30])
def test_toml_examples_load(folder: Path, place: str, text: str, request: pytest.FixtureRequest) -> None:
    """Each sweep file, or part of one over the demo's recipe, is accepted by the loader as it stands."""
    invoke(["copy", "huynh2022/models"])
    table = tomllib.loads(text)
    extended = table.get("extends", "")
    home = folder / "sweeps" / ("huynh2022" if extended == "recipe.toml" else "" if extended else "demo")
    head = "" if extended else 'extends = "recipe.toml"\nmetrics = ["val_top1", "val_loss"]\n'
    head += "" if "seeds" in table else "seeds = [0, 1, 2]\n"
    path = home / f"example_{abs(hash(request.node.name))}.toml"
    path.write_text(head + text + ("" if table.keys() & {"rows", "grid", "zip", "components"} else ROWS))
    try:
        assert load(path).cells
    finally:
        path.unlink()


ROWS = """
[[rows]]
label = "Default"
[[rows]]
label = "Remove Mixup"
set.mix.mixup_alpha = 0.0
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_examples_run(folder: Path, path: Path) -> None:
    """The Python blocks of a file run one after the other, each seeing what those before it made."""
    names: dict[str, object] = {}
    for block in fenced(path.read_text(), "python"):
        exec(compile(block, str(path), "exec"), names)


DOCUMENTED = [api.open, api.Results, *(each for each in vars(api.Results).values() if inspect.isfunction(each))]


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda each: each.__qualname__)
def test_the_examples_of_the_python_interface_run(folder: Path, documented: object) -> None:
    """The indented code in the docstrings of `tinyablate.open` and of what it gives works as it stands."""
    text = inspect.cleandoc(inspect.getdoc(documented) or "")
    for block in indented(f"{text}\n"):
        with api.open() as results:
            exec(compile(block, documented.__qualname__, "exec"), {"results": results, "tinyablate": tinyablate})  # type: ignore[attr-defined]


def test_the_readme_shows_the_demos_table(folder: Path) -> None:
    """The table in the README is what `tinyablate table demo/ablation` prints of the published results, up to the
    footnotes, 80 characters wide."""
    printed = invoke(["table", "demo/ablation"]).split("\n- ")[0].rstrip()
    assert printed in (ROOT / "README.md").read_text(), f"README.md has no such block:\n{printed}"
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("path", "ignored"),
    [("published/demo/trials.parquet", False), ("published/README.md", False), ("ablations.db", True),
     ("parquet/trials.parquet", True), ("README.md", False), ("data/shapes/manifest.json", True)],
)  # fmt: skip
def test_git_keeps_what_is_published(path: str, ignored: bool) -> None:
    """Of results/ git takes what is published and nothing else."""
    command = ["git", "-C", str(ROOT), "check-ignore", "--quiet", "--no-index", f"results/{path}"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode == 128:
        pytest.skip("not a checkout of git")
    assert (done.returncode == 0) == ignored


def test_published_results_are_small() -> None:
    """An export in the repository is below a megabyte, and says what it is."""
    for folder in (path for path in PUBLISHED.iterdir() if path.is_dir()):
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_000_000
        assert folder.name in (PUBLISHED / "README.md").read_text()
