"""Other programs read what tinyablate writes: DuckDB, polars, pandas the Parquet files, datasette the database."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyablate.cli import app
from tinyablate.store.columns import views
from tinyablate.store.parquet import mirror
from tinyablate.store.store import Store

PUBLISHED = Path(__file__).parents[1] / "results" / "published" / "demo"

MEANS = {
    "Default": 88.15, "Remove Mixup": 83.42, "Remove CutMix": 90.80, "Remove Random Erasing": 92.58,
    "Remove label smoothing": 88.18, "Add EMA": 85.85, "Learning rate 1e-4": 14.00, "Default, other seeds": 85.52,
}  # fmt: skip
"""Row -> mean top-1 of the published demo, as the README's table shows it."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published demo as a database, with its mirror beside it."""
    path = tmp_path_factory.mktemp("readers") / "ablations.db"
    done = CliRunner().invoke(app, ["import", str(PUBLISHED), "--db", str(path)])
    assert done.exit_code == 0, done.output
    with Store(path) as store:
        mirror(store)
    return path


@pytest.fixture(scope="module", params=["export", "mirror"])
def parquet(request: pytest.FixtureRequest, database: Path) -> Path:
    """A folder of Parquet files: the export as it was published, and the mirror beside a database."""
    return PUBLISHED if request.param == "export" else database.parent / "parquet"


def test_duckdb_reads_the_files(parquet: Path) -> None:
    """A join over the Parquet files gives the table's means; columns have their types."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        sql = (
            f"SELECT c.row_label, avg(t.last_val_top1) FROM '{parquet}/cells.parquet' c "
            f"JOIN '{parquet}/trials.parquet' t USING (trial) GROUP BY 1"
        )
        found = dict(connection.sql(sql).fetchall())
        types = dict(connection.sql(f"DESCRIBE SELECT * FROM '{parquet}/trials.parquet'").project("#1, #2").fetchall())
    assert {label: round(mean, 2) for label, mean in found.items()} == MEANS
    assert types["seed"] == "BIGINT"
    assert types["model_pretrained"] == "BOOLEAN"
    assert types["optimizer_lr"] == "DOUBLE"


def test_polars_reads_the_files(parquet: Path) -> None:
    """The same in polars, lazily."""
    polars = pytest.importorskip("polars")
    cells, trials = (polars.scan_parquet(parquet / f"{name}.parquet") for name in ("cells", "trials"))
    joined = cells.select("row_label", "trial").join(trials.select("trial", "last_val_top1"), on="trial")
    found = joined.group_by("row_label").agg(polars.col("last_val_top1").mean()).collect()
    assert {label: round(mean, 2) for label, mean in found.rows()} == MEANS
    epochs = polars.read_parquet(parquet / "epochs.parquet")
    assert epochs.height == 48 * 3
    assert epochs.schema["val_top1"] == polars.Float64


def test_pandas_reads_the_files(parquet: Path) -> None:
    """The same in pandas; the files have the columns that `tinyablate schema` lists."""
    import pandas as pd

    frames = {name: pd.read_parquet(parquet / f"{name}.parquet") for name in views()}
    joined = frames["cells"][["row_label", "trial"]].merge(frames["trials"], on="trial")
    assert joined.groupby("row_label").last_val_top1.mean().round(2).to_dict() == MEANS
    for name, columns in views().items():
        assert [column.name for column in columns] == list(frames[name].columns)


def test_datasette_opens_the_database(database: Path) -> None:
    """datasette serves the views as JSON, straight from the file."""
    pytest.importorskip("datasette")
    question = "select+row_label,+avg(last_val_top1)+as+top1+from+cells+group+by+1"
    command = [
        sys.executable,
        "-m",
        "datasette",
        str(database),
        "--get",
        f"/ablations.json?_shape=array&sql={question}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {row["row_label"]: round(row["top1"], 2) for row in json.loads(done.stdout)} == MEANS
