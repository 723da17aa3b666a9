"""The whole paper as a user runs it: every sweep of the folder at once, through real Ray, on a CPU with --smoke."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Cli


@pytest.fixture(scope="module")
def ran(new_cli: Callable[[str], Cli]) -> Cli:
    """A folder in which `tinyablate run huynh2022 --smoke` has come to its end."""
    cli = new_cli("huynh")
    before = cli.json("plan", "huynh2022", "--smoke")
    done = cli("run", "huynh2022", "--smoke", "--format", "json")
    (cli.folder / "before.json").write_text(json.dumps(before))
    (cli.folder / "tables.json").write_text(done.stdout)
    return cli


def tables(cli: Cli) -> dict[str, Any]:
    """The tables that the run printed, by sweep."""
    names = [sweep["sweep"] for sweep in json.loads((cli.folder / "before.json").read_text())["sweeps"]]
    return dict(zip(names, json.loads((cli.folder / "tables.json").read_text()), strict=True))


def test_every_sweep_fills_its_table(ran: Cli) -> None:
    """Each of the ten has a value in every cell that its metrics can fill, and says that it is no result."""
    found = tables(ran)
    assert len(found) == 10
    for name, table in found.items():
        assert table["title"].startswith("SMOKE"), name
        cells = [cell for row in table["rows"] for cell in row["cells"]]
        assert cells, name
        assert [cell for cell in cells if cell["mean"] is None] == [], name


def test_the_plan_tells_what_is_shared_and_the_run_does_it(ran: Cli) -> None:
    """As many jobs as planned; heads on one trunk are one job, trials of several sweeps run once."""
    before = json.loads((ran.folder / "before.json").read_text())
    jobs = ran.sql("SELECT job, count(*) AS trials FROM attempts GROUP BY 1 ORDER BY 2 DESC")
    assert len(jobs) == before["jobs"] < before["trials"]
    assert jobs[0]["trials"] > 17  # the optimizer search, with what observes it
    shared = ran.sql(
        "SELECT trial_id, count(DISTINCT sweep_id) AS sweeps FROM stored_cells GROUP BY 1 HAVING sweeps > 1"
    )
    assert len(shared) == before["common"] > 0


def test_a_second_run_does_nothing(ran: Cli) -> None:
    """Everything is there: no job, the same tables."""
    again = ran("run", "huynh2022", "--smoke", "--format", "json")
    assert "nothing to do" in again.stderr
    assert json.loads(again.stdout) == json.loads((ran.folder / "tables.json").read_text())
    assert ran.json("plan", "huynh2022", "--smoke")["jobs"] == 0


def test_status_puts_estimate_and_truth_side_by_side(ran: Cli) -> None:
    """After the run each sweep has the time that it took."""
    (line,) = ran("status", "huynh2022/adamw_grid").stdout.split("last run, estimated and in truth")[1].splitlines()[2:]
    assert line.startswith("huynh2022/adamw_grid  --smoke")
    assert float(line.split()[-5]) > 0  # hours of a core, in truth: twelve cells in one job
    assert line.endswith("0 of 1                1")


def test_the_figure_is_drawn_with_the_published_curves(ran: Cli) -> None:
    """SGD against AdamW over the epochs: an SVG, and the numbers in it, ours and the paper's three curves."""
    path = ran.folder / ran("figure", "huynh2022/sgd", "--smoke").stdout.strip()
    assert path.read_text().startswith("<?xml")
    lines = path.with_suffix(".csv").read_text().splitlines()
    assert sum("published" in line for line in lines) == 90
    assert sum("published" not in line for line in lines[1:]) == 15  # three rows of five epochs
