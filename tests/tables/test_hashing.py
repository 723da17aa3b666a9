"""A table has the same bytes in every process, whatever the order of its sets and dicts."""

import os
import subprocess
import sys


def test_bytes_do_not_depend_on_hashing():
    """Two processes with other hash seeds print a table of mixed provenance and several sources alike."""
    program = """if True:
        from dataclasses import replace
        from pathlib import Path
        from tinyablate.recipe import Data, Model, Recipe
        from tinyablate.sweep.schema import Cell, Column, Row, Sweep
        from tinyablate.tables.layout import CellResult, Provenance, build
        from tinyablate.tables.render import FORMATS, render
        recipe = Recipe(data=Data(name="shapes"), model=Model(name="m"))
        rows = tuple(Row(at, f"r{at}", "", None, (0, 1, 2), False) for at in range(9))
        published = {"val_top1": {f"source {at}": 1.0 for at in range(5)}}
        cells = tuple(Cell(at, 0, recipe, "", published) for at in range(9))
        origin = Provenance("a", "b", "c", "d", "e", 1, "f")
        def result(row, seed):
            mixed = replace(origin, device=f"gpu {row}", data_digest=str(seed))
            return CellResult(seed, "complete", {"val_top1": row + seed / 7}, None, mixed)
        results = {(at, 0): [result(at, seed) for seed in range(3)] for at in range(9)}
        columns, metrics = (Column(0, ""),), ("val_top1",)
        sweep = Sweep(
            "n", Path("n"), "t", "q", "", metrics, "best", None, recipe, None, rows, columns, cells, (), False, (), "",
            "",
        )
        table = build(sweep, results)
        print(*(render(table, format) for format in FORMATS))
    """
    printed = [
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert b"MIXED" in printed[0]
