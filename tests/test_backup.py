"""`tinyablate backup`: a copy that is a database as any other, of a database that is written to, refused where due."""

import sqlite3
from pathlib import Path

import pytest
from conftest import Cli
from driven import begun, sweep, trials
from inspection.conftest import outcome

from tinyablate.backup import back_up
from tinyablate.errors import StoreError
from tinyablate.store.store import Store

FIXTURES = Path(__file__).parent / "store" / "fixtures"


@pytest.fixture
def database(cli: Cli) -> Path:
    """A database with a result, at the place where commands look for it."""
    path = cli.folder / "results" / "ablations.db"
    with Store(path) as store:
        sweep(store, "mine", trials(2))
        assert store.finish(begun(store, trials(1)[0]), outcome(["1", "0"]))
    return path


def test_a_backup_is_a_database(cli: Cli, database: Path) -> None:
    """One file that answers as the database did when it was made; an earlier one is replaced only with --force."""
    with Store(database) as store:
        begun(store, trials(2)[1])  # somebody writes meanwhile
        done = cli("backup", "safe/copy.db")
        assert store.finish(begun_again(store), outcome(["1", "1"]))
    assert done.stdout == "safe/copy.db\n"
    assert done.stderr.endswith(", integrity ok\n")
    assert [path.name for path in (cli.folder / "safe").iterdir()] == ["copy.db"]
    states = "SELECT state, count(*) FROM trials GROUP BY 1"
    asked = ("query", states, "--db", "safe/copy.db", "--format", "csv")
    assert cli(*asked).stdout.split()[1:] == ["complete,1", "running,1"]
    err = cli("backup", "safe/copy.db", code=2).stderr
    assert "safe/copy.db: is there already; with --force it is replaced, if it is an earlier backup" in err
    cli("backup", "safe/copy.db", "--force")
    assert cli(*asked).stdout.split()[1:] == ["complete,2"]


def begun_again(store: Store) -> object:
    """The claim that this store's driver holds on the second trial."""
    trial = trials(2)[1]
    (claim,) = store.claim([trial.key], f"job of {trial.key[:8]}")
    return claim


def test_what_is_no_backup_is_never_replaced(cli: Cli, database: Path) -> None:
    """Not a file of another kind, not a folder, not the database itself, whatever its name."""
    (cli.folder / "notes.txt").write_text("mine")
    assert "no backup" in cli("backup", "notes.txt", "--force", code=2).stderr
    assert (cli.folder / "notes.txt").read_text() == "mine"
    assert "is a directory" in cli("backup", "results", "--force", code=2).stderr
    (cli.folder / "link.db").symlink_to(database)
    for name in ("results/ablations.db", "link.db"):
        before = database.read_bytes()
        assert "no backup" in cli("backup", name, "--force", code=2).stderr
        assert database.read_bytes() == before
    assert "is empty" in cli("backup", "", code=2).stderr


def test_what_is_no_database_is_not_copied(cli: Cli, tmp_path: Path) -> None:
    """Nothing is written where there is no database of ours."""
    assert "no such database" in cli("backup", "copy.db", code=2).stderr
    with sqlite3.connect(cli.folder / "other.db") as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    assert "is a database of another program" in cli("backup", "copy.db", "--db", "other.db", code=2).stderr
    assert not (cli.folder / "copy.db").exists()


def test_an_older_database_is_copied_as_it_is(tmp_path: Path) -> None:
    """Before another version of the program changes it: the schema stays."""
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript((FIXTURES / "schema-4.sql").read_text())
    connection.close()
    assert back_up(str(tmp_path / "old.db"), tmp_path / "copy.db") == (tmp_path / "copy.db").stat().st_size
    for name in ("old.db", "copy.db"):
        with sqlite3.connect(tmp_path / name) as connection:
            assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (4,)
        connection.close()


def test_a_servers_own_program_is_named(postgres_url: str, tmp_path: Path) -> None:
    """PostgreSQL is copied by pg_dump; the command has no password in it."""
    Store(postgres_url).close()
    with pytest.raises(StoreError, match=r"pg_dump --format=custom --file=\S*copy.dump --dbname=\w+ ") as raised:
        back_up(postgres_url, tmp_path / "copy.dump")
    assert "p@ss" not in str(raised.value)
    assert "p%40ss" not in str(raised.value)
