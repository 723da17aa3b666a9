"""The structure that the folder tree promises: which module may import which, and what starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tinyablate

PACKAGE = Path(tinyablate.__file__).parent

LAYERS = [
    {"errors", "processes", "signals", "terminal", "faults", "retention", "workspace"},
    {"durable"},
    {"datasets", "policies", "machine", "retries"},
    {"cures"},
    {"conflicts", "recipe"},
    {"identity"},
    {"job", "model_facts", "weights", "provenance"},
    {"train", "store", "sweep", "prepare"},
    {"plan", "worker", "bundled"},
    {"cost"},
    {"tables", "run", "preflight"},
    {"dispatch", "activity", "asked"},
    {"estimates", "launch", "progress", "finish", "describe", "listing", "doctor", "preview", "calibrate", "report"},
    {"looking", "retrying", "backup"},
    {"watch", "stopping", "status"},
    {"start", "inspection"},
    {"options"},
    {"api"},
    {"commands"},
    {"cli"},
]
"""From the ground up. A module imports its own layer's package or lower layers, never higher ones."""

TRAIN_MAY_IMPORT = {"torch", "torchvision", "timm", "numpy", "PIL", "tinyablate"} | set(sys.stdlib_module_names)
TRAIN_MAY_USE = {
    "errors", "durable", "retention", "datasets", "policies", "machine", "retries", "recipe", "identity", "job",
    "train",
}  # fmt: skip


def imports_of(path: Path) -> set[str]:
    """Every module that the file imports, anywhere in it; `from tinyablate import x` counts as tinyablate.x."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "tinyablate":
            found |= {f"tinyablate.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def part_of(path: Path) -> str:
    """`train` for tinyablate/train/loop.py, `plan` for tinyablate/plan.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def level(part: str) -> int:
    """The layer that a part belongs to."""
    return next(index for index, parts in enumerate(LAYERS) if part in parts)


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_bundled" not in path.parts)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if part_of(p) != "__init__"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_point_one_way(path: Path) -> None:
    """A module imports only from lower layers or its own part; layers of several parts do not import each other up."""
    own = part_of(path)
    for name in imports_of(path):
        part = [*name.split("."), ""][1] if name.startswith("tinyablate.") else ""
        if part and part != own and not part.startswith("__"):
            assert level(part) <= level(own), f"{own} imports {part}, which is above it"


@pytest.mark.parametrize("path", sorted((PACKAGE / "train").rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_train_runs_on_a_bare_gpu_box(path: Path) -> None:
    """train/ imports torch, torchvision, timm, numpy, PIL and the standard library, and of ours only the ground."""
    for name in imports_of(path):
        assert name.split(".")[0] in TRAIN_MAY_IMPORT, f"{path.name} imports {name}"
        if name.startswith("tinyablate."):
            assert name.split(".")[1] in TRAIN_MAY_USE or name.split(".")[1].startswith("__"), (
                f"{path.name} imports {name}"
            )


@pytest.mark.parametrize("path", sorted((PACKAGE / "store").rglob("*.py")), ids=lambda p: p.name)
def test_the_store_knows_no_sweep_and_no_training(path: Path) -> None:
    """store/ imports neither sweep nor plan nor train nor ray."""
    parts = {name.split(".")[1] for name in imports_of(path) if name.startswith("tinyablate.")}
    assert not parts & {"sweep", "plan", "train", "tables", "run"}


@pytest.mark.parametrize(
    "module",
    ["cli", "describe", "tables.collect", "sweep.load", "store.query", "preflight", "inspection.text", "api"],
)
def test_light_commands_start_light(module: str) -> None:
    """help, plan, table and query import no torch, timm, ray, scipy or pandas."""
    code = f"import sys, tinyablate.{module}; print(*{{'torch', 'timm', 'ray', 'scipy', 'pandas'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_modules_stay_readable() -> None:
    """No module grows past 450 lines and no function past 60, but for the training loop."""
    for path in MODULES:
        source = path.read_text()
        assert source.count("\n") <= 450, f"{path.name} has {source.count(chr(10))} lines"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and path.name != "loop.py":
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{path.name}: {node.name} has {length} lines"
