"""Results in Python: what a notebook or a script reads, as pandas or Arrow. It trains nothing and writes nothing."""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from tinyablate.errors import StoreError, UsageError
from tinyablate.options import DEFAULT_DATABASE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tinyablate.store.location import Location
    from tinyablate.tables.schema import Table

Frame = TypeVar("Frame")

STATES = ("complete", "diverged", "failed", "running", "pending")


@overload
def open(db: str | Path | None = None, *, backend: Literal["pandas"] = "pandas") -> "Results[pd.DataFrame]": ...
@overload
def open(db: str | Path | None = None, *, backend: Literal["pyarrow"]) -> "Results[pa.Table]": ...
def open(db: str | Path | None = None, *, backend: str = "pandas") -> "Results[Any]":
    """The results database at `db` [$TINYABLATE_DB, else ./results/ablations.db], for reading.

    `db` is the path of a SQLite file, or postgresql://USER:PASSWORD@HOST:PORT/NAME, best of a role that may only read.
    With `backend="pyarrow"` every frame is a pyarrow.Table, else a pandas.DataFrame. Raises StoreError where there is
    no database, where it is of an older schema (any command migrates it), or of a newer tinyablate.

        import tinyablate

        with tinyablate.open() as results:
            trials = results.trials("demo/ablation")
            print(trials.groupby("mix_mixup_alpha").last_val_top1.agg(["mean", "std", "count"]))
            print(results.table("demo/ablation").to_markdown())
    """
    converters: Mapping[str, Callable[[Any], Any]] = {"pandas": _pandas, "pyarrow": lambda table: table}
    if backend not in converters:
        raise UsageError(f'backend "{backend}": no such library; valid: "pandas", "pyarrow"')
    from tinyablate.store.location import Location

    location = Location.of(db or os.environ.get("TINYABLATE_DB") or DEFAULT_DATABASE)
    if location.path and not location.exists():
        how = 'run a sweep first (tinyablate run SWEEP), or name one: tinyablate.open("PATH")'
        what = "is empty: no database yet" if location.is_empty else "no such database"
        raise StoreError(f"{location.shown}: {what}; {how}")
    return Results(location, converters[backend])


def _pandas(table: "pa.Table") -> "pd.DataFrame":
    """As pandas: whole numbers and booleans of the types that have room for NA, numbers float64, texts str."""
    import pandas as pd
    import pyarrow as pa

    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=types.get)
    return frame


class Results(Generic[Frame]):
    """A results database, opened by `tinyablate.open`. It cannot be written through this object.

    Every method reads the database anew, so that results of a sweep that runs meanwhile are seen. `tinyablate schema`
    says what each column means. What is not known is NA (of whole numbers and booleans), nan or None.

        results = tinyablate.open("results/ablations.db")
        results                                            # in a notebook: the sweeps and their trials by state
        results.trials("demo/ablation", where="seed < 3 AND state = 'complete'")
        results.epochs("demo/ablation").pivot(index="epoch", columns="trial", values="val_top1").plot()
        results.query("SELECT device, sum(device_hours) FROM trials GROUP BY 1")
        results.close()
    """

    def __init__(self, db: "str | Path | Location", convert: "Callable[[pa.Table], Frame]") -> None:
        from tinyablate.store.reading import ReadOnly

        self._store = ReadOnly(db)
        self._convert = convert

    @property
    def path(self) -> Path | None:
        """The database file; None of a PostgreSQL server's."""
        return self._store.location.path

    @property
    def database(self) -> str:
        """Which database it is: its path, or its URL without the password."""
        return self._store.location.shown

    def close(self) -> None:
        """Give file handles and connections back; the object is of no use afterwards."""
        self._store.close()

    def __enter__(self) -> "Results[Frame]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- views -------------------------------------------------------------------------------------------------------

    def trials(
        self, sweep: str | None = None, *, smoke: bool = False, where: str = "", params: Sequence[Any] = ()
    ) -> Frame:
        """A line per trial: every recipe field as a column, its state, the numbers of the attempt that counts.

        Of the sweep of this name they are those that any version of its file asked for, run with --smoke or not.
        `where` is an SQL condition on the columns, with `params` for its question marks.

            results.trials("demo/ablation", where="mix_mixup_alpha > ? AND state = 'complete'", params=[0])
        """
        return self._view("trials", sweep, smoke, where, params)

    def epochs(
        self, sweep: str | None = None, *, smoke: bool = False, where: str = "", params: Sequence[Any] = ()
    ) -> Frame:
        """A line per trial and epoch: the curves, in the order of trial and epoch. The arguments are as of `trials`.

        curves = results.epochs("demo/ablation")
        curves.groupby("epoch").val_top1.mean()
        """
        return self._view("epochs", sweep, smoke, where, params)

    def cells(
        self, sweep: str | None = None, *, smoke: bool | None = None, where: str = "", params: Sequence[Any] = ()
    ) -> Frame:
        """A line per trial and place in a sweep's table: labels of row and column, seed, state, numbers.

        Of every version of every sweep that was run, told apart by `digest`, `smoke`, `overrides` and `created_at`;
        of the sweep of this name alone, if one is given. `where="latest"` leaves out versions that a newer one of the
        same name, smoke and overrides has taken the place of.
        """
        conditions: dict[str, Any] = {"sweep = ?": sweep, "smoke = ?": smoke}
        given = {text: value for text, value in conditions.items() if value is not None}
        if sweep is not None:
            self._check(sweep, smoke)
        return self._read("cells", [*given, where], [*given.values(), *params])

    def outcomes(
        self, sweep: str | None = None, *, smoke: bool = False, where: str = "", params: Sequence[Any] = ()
    ) -> Frame:
        """A line per result of an attempt, those that no longer count included (`accepted`). Arguments as `trials`."""
        return self._view("outcomes", sweep, smoke, where, params)

    def sweeps(self) -> Frame:
        """A line per version of a sweep that was run, the newest first, with its trials by state and its text."""
        return self._convert(self._store.arrow(_SWEEPS))

    def query(self, sql: str, params: Sequence[Any] = ()) -> Frame:
        """The answer to one SELECT, with `params` for its question marks. Raises UsageError on anything but reading.

        Columns are typed by their values; of a view's booleans by what they are.

            results.query("SELECT seed, avg(last_val_top1) AS top1 FROM trials WHERE kind = ? GROUP BY 1", ["train"])
        """
        return self._convert(self._store.arrow(sql, params))

    def table(
        self, sweep: str, *, smoke: bool = False, overrides: Sequence[str] = (), seeds: str | None = None,
        null_rows: int = 0, device: str = "",
    ) -> "SweepTable[Frame]":  # fmt: skip
        """The table of a sweep, as `tinyablate table` prints it; `sweep` is its name or the path of its file.

        `overrides` are texts `path=value` as of --set, `seeds` and `null_rows` as of --seeds and --null-rows, `device`
        the machine whose measured speeds are shown. In a notebook it shows as a table. Raises SweepError.

            results.table("demo/ablation")                  # in a notebook
            print(results.table("demo/ablation").to_latex())
            results.table("demo/ablation").frame()          # a line per row, column and metric
        """
        from tinyablate.options import load_one
        from tinyablate.tables.collect import collect

        loaded = load_one(sweep, smoke, tuple(overrides), seeds, null_rows)
        return SweepTable(collect(loaded, self._store, device), self._convert)

    def _view(self, name: str, sweep: str | None, smoke: bool, where: str, params: Sequence[Any]) -> Frame:
        if sweep is None:
            return self._read(name, [where], params)
        self._check(sweep, smoke)
        # `trial > ''` always holds; with it SQLite begins with these trials and not with every epoch: 0.01 s, not 4 s.
        ours = "trial > '' AND trial IN (SELECT trial FROM cells WHERE sweep = ? AND smoke = ?)"
        return self._read(name, [ours, where], [sweep, smoke, *params])

    def _read(self, name: str, conditions: Sequence[str], params: Sequence[Any]) -> Frame:
        condition = " AND ".join(f"({each})" for each in conditions if each)
        return self._convert(self._store.view(name, condition, params))

    def _check(self, sweep: str, smoke: bool | None) -> None:
        """Refuse a sweep that was never run: an empty frame would look like one without results."""
        from tinyablate.errors import listed, nearest

        rows = self._store.arrow("SELECT DISTINCT name, smoke FROM sweeps ORDER BY name").to_pylist()
        names = list(dict.fromkeys(row["name"] for row in rows))
        if sweep not in names:
            known = f"; names: {listed(names)}" if names else "; no sweep was run with it"
            raise UsageError(f"{sweep}: was never run with {self.database}{nearest(sweep, names)}{known}")
        if smoke is not None and not any(row["name"] == sweep and row["smoke"] == smoke for row in rows):
            raise UsageError(f"{sweep}: was run only with{'out' if smoke else ''} --smoke: write smoke={not smoke}")

    # ---- a notebook's view -------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<tinyablate.Results {self.database}>"

    def _repr_html_(self) -> str:
        """The path, and the sweeps with their trials by state."""
        found = self._store.arrow(_SWEEPS).drop_columns(["text", "digest"]).to_pylist()
        shown = {"name": "sweep", "title": "title", "options": "with", **{state: state for state in STATES}}
        head = "".join(f"<th>{html.escape(text)}</th>" for text in shown.values())
        lines = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_text(row[column]))}</td>" for column in shown) + "</tr>"
            for row in ({**row, "options": _options(row)} for row in found)
        )
        body = (
            f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>" if lines else "no sweep was run yet"
        )
        return f"<p>{html.escape(self.database)}</p>{body}"


_SWEEPS = f"""
SELECT s.name, s.title, s.smoke, s.overrides, s.created_at, s.digest,
    {", ".join(f"count(DISTINCT CASE WHEN t.state = '{state}' THEN t.id END) AS {state}" for state in STATES)}, s.text
FROM sweeps s LEFT JOIN stored_cells c ON c.sweep_id = s.id LEFT JOIN stored_trials t ON t.id = c.trial_id
GROUP BY s.id ORDER BY s.created_at DESC, s.id DESC
"""


def _options(sweep: Mapping[str, Any]) -> str:
    """What a version of a sweep was run with."""
    return " ".join(["smoke"] * sweep["smoke"] + sweep["overrides"].split("\n")).strip()


def _text(value: object) -> str:
    return "" if value in (None, 0) else str(value)


# ---- tables ----------------------------------------------------------------------------------------------------------


class SweepTable(Generic[Frame]):
    """The table of a sweep, see `Results.table`; `table` holds all that any format prints of it."""

    def __init__(self, table: "Table", convert: "Callable[[pa.Table], Frame]") -> None:
        self.table = table
        self._convert = convert

    def frame(self) -> Frame:
        """A line per row, column and metric, with the columns of `tinyablate table --format csv`.

        `label` of the row, mean, sd, n of planned, difference with its interval; `p`, `verdict` and the interval
        `block_low` to `block_high` are those of the comparison that verdicts rest on. Published numbers are in columns
        `published_SOURCE`.
        """
        import pyarrow as pa

        from tinyablate.tables.render.data import records, types_of

        kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
        schema = pa.schema([(name, kinds[kind]) for name, kind in types_of(self.table).items()])
        return self._convert(pa.Table.from_pylist([*records(self.table)], schema=schema))

    def seeds(self) -> Frame:
        """A line per row, column, metric and seed that has a value: the values behind the means, and their trials."""
        import pyarrow as pa

        kinds = {"label": pa.string(), "column": pa.string(), "metric": pa.string(), "seed": pa.int64()}
        kinds |= {"value": pa.float64(), "trial": pa.string()}
        return self._convert(pa.Table.from_pylist(_replicates(self.table), schema=pa.schema(list(kinds.items()))))

    def render(self, format: str = "terminal", width: int | None = None) -> str:
        """The table as text in one of the formats of `tinyablate table`."""
        from tinyablate.tables.render import render

        return render(self.table, format, width=width)

    def to_markdown(self) -> str:
        """As Markdown, with its footnotes."""
        return self.render("markdown")

    def to_latex(self) -> str:
        """As LaTeX."""
        return self.render("latex")

    def to_html(self) -> str:
        """As a whole HTML page."""
        return self.render("html")

    def _repr_html_(self) -> str:
        from tinyablate.tables.render.html import fragment

        return fragment(self.table)

    def _repr_latex_(self) -> str:
        return self.to_latex()

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        return f"<tinyablate.SweepTable {self.table.name}: {len(self.table.rows)} rows>"


def _replicates(table: "Table") -> list[dict[str, Any]]:
    """A record per value behind the table's cells."""
    found = table.replicates
    if found is None:
        return []
    return [
        {
            "label": table.rows[row].label, "column": table.columns[column].label,
            "metric": table.columns[column].metric.name, "seed": seed, "value": float(value),
            "trial": found.keys.get((column, row), {}).get(seed),
        }
        for column, values in enumerate(found.values)
        for row, of_row in enumerate(values)
        for seed, value in zip(found.seeds, of_row, strict=True)
        if value == value
    ]  # fmt: skip
