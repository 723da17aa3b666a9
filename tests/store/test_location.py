"""What --db may say, and that a password in it is shown nowhere."""

import logging
import pickle
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from servers import PASSWORD, PostgresServer

from tinyablate.errors import AwayError, StoreError, TinyablateError
from tinyablate.store.backends import open_backend
from tinyablate.store.location import Location
from tinyablate.store.store import Store


@pytest.mark.parametrize("text", ["a.db", "./a.db", "sqlite:///a.db", "sqlite:////tmp/x/../a.db", "~/a.db"])
def test_a_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths and SQLite's URLs name an absolute file, in whose folder everything else lies."""
    monkeypatch.chdir(tmp_path)
    found = Location.of(text)
    assert found.dialect == "sqlite"
    assert found.path is not None
    assert found.path.is_absolute()
    assert found.home == found.path.parent
    assert found.trials_folder == found.home / "a.db.trials"
    assert (found.shown, found.text, str(found)) == (str(found.path),) * 3
    assert not found.exists()
    monkeypatch.chdir("/")
    assert Location.of(found.text) == Location.of(found) == found


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL names user, password, host, port and database, and what lies elsewhere is in the folder for results."""
    monkeypatch.chdir(tmp_path)
    found = Location.of(f"{scheme}://me:secret@example.org:5433/my%20results?sslmode=require")
    assert (found.dialect, found.path, found.home) == ("postgresql", None, tmp_path / "results")
    assert (found.url.username, found.url.password, found.url.host, found.url.port) == (
        "me", "secret", "example.org", 5433,
    )  # fmt: skip
    assert (found.url.database, found.url.query) == ("my results", {"sslmode": "require"})
    assert found.trials_folder.parent == tmp_path / "results"
    assert found.trials_folder.name.startswith("my_results-")
    assert found.trials_folder.suffix == ".trials"
    assert found.trials_folder != Location.of("postgresql://elsewhere/my results").trials_folder
    assert found.shown == "postgresql://me@example.org:5433/my results"
    monkeypatch.setenv("TINYABLATE_RESULTS", "elsewhere")
    assert Location.of(found.text).home == tmp_path / "elsewhere"
    assert Location.of(found.text).url == found.url == pickle.loads(pickle.dumps(found)).url


@pytest.mark.parametrize(
    ("text", "user", "password", "host"),
    [
        ("postgresql://me:p@ss/w%rd@host/x", "me", "p@ss/w%rd", "host"),
        ("postgresql://me:p%40ss%2Fw%25rd@host/x", "me", "p@ss/w%rd", "host"),
        ("postgresql://me:a:b?c#d@[::1]:5432/x", "me", "a:b?c#d", "::1"),
        ("postgresql://me@host/x", "me", None, "host"),
        ("postgresql:///x?host=/run/postgresql&user=me&password=hid%26den", "me", "hid&den", None),
    ],
)
def test_any_password(text: str, user: str, password: str | None, host: str | None) -> None:
    """A password may hold any character, as it is or as a % code."""
    found = Location.of(text)
    assert (found.url.username, found.url.password, found.url.host, found.url.database) == (user, password, host, "x")
    assert Location.of(found.text).url == found.url
    for shown in (found.shown, str(found), repr(found), f"{found}"):
        assert password is None or (password not in shown and quote(password, safe="") not in shown)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://me:hidden@host/db", r"mysql://…: not a database that tinyablate knows; valid: a file path, sqlite:"),
        ("postgresql+psycopg2://me:hidden@host/db", r"not a database that tinyablate knows"),
        ("postgresql://me:hidden@host/", r"names no database"),
        ("postgresql://me:hidden@host", r"names no database"),
        ("postgresql://me:hidden@host:65536/db", r"cannot be read as postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ("postgresql://me:hidden@host:12a/db", r"cannot be read as"),
        ("postgresql://me:hidden@ho st/db", r"cannot be read as"),
        (f"postgresql://me:hidden@{'h' * 64}.org/db", r"cannot be read as"),
        ("postgresql://me:hidden@one:1,two:2/db", r"cannot be read as"),
        ("postgresql://me:hidden%00@host/db", r"holds a NUL character \(%00\)"),
        ("postgresql://me%00:hidden@host/db", r"holds a NUL character"),
        ("postgresql://me:hidden@host/db?options=a%00", r"holds a NUL character"),
        (
            "postgresql:/me:hidden@host/db",
            r"neither a path nor a URL, though it looks like one; valid: a file path, sq",
        ),
        ("me:hidden@host/db", r"neither a path nor a URL"),
        ("host=here password=hidden dbname=db", r"neither a path nor a URL"),
        ("a\0b", r"cannot be a path"),
        ("~nobody-of-that-name/x.db", r"cannot be a path"),
        ("/tmp", r"is a folder; name a database file in it, such as /tmp/ablations.db"),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    """Each gets one clear message, without the password."""
    with pytest.raises(StoreError, match=message) as error:
        Location.of(text)
    assert "hidden" not in str(error.value)


def test_the_password_is_shown_nowhere(
    postgres: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no message, repr, log of any library at its most talkative, nor traceback, as it is or with % codes."""
    monkeypatch.setattr(logging.getLogger("sqlalchemy.pool"), "level", logging.DEBUG)
    texts: list[str] = []

    def said(error: BaseException) -> None:
        texts.extend(["".join(traceback.format_exception(error)), str(error), repr(error)])

    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "sqlalchemy"):
        with Store(postgres_url) as store:
            store.states(["a"])
            texts += [repr(store.location), repr(store.backend.engine), repr(store.backend.engine.url)]
            texts += [str(store.backend.engine.pool), str(store.__dict__), str(store.backend.__dict__)]
            texts += [found for _, found in store.backend.check()]
            with pytest.raises(TinyablateError) as refused:
                store.backend.backup(Path("copy"))
            said(refused.value)
            try:
                postgres.kill()
                with pytest.raises(AwayError) as away:
                    store.states(["a"])
                said(away.value)
            finally:
                postgres.restart()
        for wrong in (
            postgres.address("absent"),
            postgres.address("postgres", user="absent"),
            f"{postgres_url}?sslmode=verify-full",
            f"{postgres_url}?nonsense=1",
            f"postgresql://tester:{PASSWORD}@127.0.0.1:1/x",
            f"postgresql://tester:{PASSWORD}@nowhere.invalid/x",
            f"postgresql://tester:{PASSWORD}@127.0.0.1:x/x",
        ):
            with pytest.raises((StoreError, AwayError)) as error:
                open_backend(Location.of(wrong)).version()
            said(error.value)
    texts += [record.getMessage() for record in caplog.records]
    whole = "\n".join(texts)
    assert "127.0.0.1" in whole
    assert caplog.records
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in whole, whole[max(0, whole.index(secret) - 200) :][:400]


def test_a_password_in_a_text_is_covered() -> None:
    """Should the driver's words hold it after all; a short one only by itself, not within words."""
    found = Location.of("postgresql://me:p%40ss@host/x")
    assert found.without_password("using p@ss, p%40ss.") == "using ***, ***."
    assert Location.of("postgresql://me:o@host/x").without_password("no host o") == "no host ***"
