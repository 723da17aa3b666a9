"""Where a results database is: what `--db` names, and which folder lies beside it. Opens nothing but for `exists`."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote

import sqlalchemy as sa

from tinyablate.errors import StoreError

Dialect = Literal["sqlite", "postgresql"]

FORMS = "a file path, sqlite:///PATH, postgresql://USER:PASSWORD@HOST:PORT/NAME"
_SERVERS = ("postgresql", "postgres", "postgresql+psycopg")
_LIKE_A_URL = re.compile(r"^(postgres|mysql|mariadb|sqlite)\w*(\+\w+)?:|\b(password|dbname)\s*=|^[^/@\s]*:[^@]*@[^/]+/")
"""A mistyped URL is not a file to be made; and as it may hold a password, it is not repeated."""
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:.%]+)\]|(?P<host>[\w.-]*))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, repr=False)
class Location:
    """One database. Neither its text for messages (`shown`, also `str` and `repr`) nor its errors hold a password."""

    dialect: Dialect
    url: sa.URL
    path: Path | None
    """The file of a SQLite database, absolute."""
    home: Path
    """Folder, absolute, in which checkpoints, Parquet files and logs lie: that of the SQLite file; for PostgreSQL
    $TINYABLATE_RESULTS or ./results."""

    @classmethod
    def of(cls, text: "str | Path | Location") -> "Location":
        """What `--db` names: a path or a URL. Raises StoreError for what cannot be a database of ours."""
        if isinstance(text, Location):
            return text
        given = os.fspath(text)
        scheme, separator, rest = given.partition("://")
        if not separator and _LIKE_A_URL.search(given):
            raise StoreError(f"--db: is neither a path nor a URL, though it looks like one; valid: {FORMS}")
        if not separator:
            return _file(given)
        if scheme == "sqlite":
            return _file(rest.removeprefix("/"))
        if scheme in _SERVERS:
            return _server(rest)
        raise StoreError(f"--db {scheme[:60]}://…: not a database that tinyablate knows; valid: {FORMS}")

    @property
    def name(self) -> str:
        """Name of the file or of the database on its server, fit for a file's name."""
        return self.path.name if self.path else re.sub(r"[^\w.-]", "_", self.url.database or "")

    @property
    def trials_folder(self) -> Path:
        """Where the directories of attempts are made: of two servers' databases of one name not the same."""
        server = "" if self.path else f"-{hashlib.sha256(self.shown.rpartition('@')[2].encode()).hexdigest()[:8]}"
        return self.home / f"{self.name}{server}.trials"

    @property
    def shown(self) -> str:
        """For messages: the path, or a URL of user, host, port and name."""
        if self.path:
            return str(self.path)
        user = f"{self.url.username}@" if self.url.username else ""
        host = self.url.host or self.url.query.get("host", "")
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{user}{host}{port}/{self.url.database}"

    @property
    def text(self) -> str:
        """All of it, with the password, for `of` in another process: never to be shown."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=False)

    @property
    def is_empty(self) -> bool:
        """Whether it is a file without a byte, which SQLite takes for a database that nothing was put into yet."""
        return self.path is not None and self.path.is_file() and not self.path.stat().st_size

    def exists(self) -> bool:
        """Whether a database is there: a file that is not empty; on a server, our tables.

        Raises StoreError or AwayError where a server cannot be asked.
        """
        if self.path:
            return self.path.exists() and not self.is_empty
        from tinyablate.store.backends.postgresql import Postgresql

        backend = Postgresql(self)
        try:
            return backend.version() > 0
        finally:
            backend.close()

    def without_password(self, text: str) -> str:
        """The text with *** wherever the password stands in it by itself, as it is or with % codes."""
        secret, url = self.url.password, self.url
        if not secret or secret in (url.username, url.host, url.database):
            return text
        forms = "|".join(re.escape(form) for form in (secret, quote(secret, safe="")))
        return re.sub(rf"(?<!\w)(?:{forms})(?!\w)", "***", text)

    def __repr__(self) -> str:
        return f"Location({self.shown!r})"

    def __str__(self) -> str:
        return self.shown


def _file(text: str) -> Location:
    path = Path(text)
    try:
        if "\0" in text:
            raise ValueError("it holds a null character")
        path = path.expanduser()
        is_folder = path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, no such user
        raise StoreError(f"--db {text[:60]!r}: cannot be a path: {error}") from error
    if is_folder:
        raise StoreError(f"{path}: is a folder; name a database file in it, such as {path}/ablations.db")
    path = path.absolute()
    return Location("sqlite", sa.URL.create("sqlite", database=str(path)), path, path.parent)


def _server(rest: str) -> Location:
    """The URL after its scheme. The last @ ends the password, which may thus hold any character, or % codes."""
    account, _, address = rest.rpartition("@")
    user, _, password = account.partition(":")
    place, _, options = address.partition("?")
    host_and_port, _, database = place.partition("/")
    if "\0" in unquote(rest):
        raise StoreError(
            "--db postgresql://…: holds a NUL character (%00), which neither a user's name nor a password can have; is "
            "it the URL that was meant?"
        )
    found = _ADDRESS.fullmatch(host_and_port)
    if not found or int(found["port"] or 1) not in range(1, 65536) or not _can_be_host(found["host"] or ""):
        raise StoreError(
            "--db postgresql://…: cannot be read as postgresql://USER:PASSWORD@HOST:PORT/NAME; in names and options "
            "write special characters as % codes (@ as %40)"
        )
    if not database:
        raise StoreError("--db postgresql://…: names no database; valid: postgresql://USER:PASSWORD@HOST:PORT/NAME")
    query = dict(parse_qsl(options, keep_blank_values=True))
    url = sa.URL.create(
        "postgresql+psycopg",
        username=unquote(user) or query.pop("user", None),
        password=unquote(password) or query.pop("password", None),
        host=found["ipv6"] or found["host"] or None,
        port=int(found["port"]) if found["port"] else None,
        database=unquote(database),
        query=query,
    )
    home = Path(os.environ.get("TINYABLATE_RESULTS") or "results").expanduser().absolute()
    return Location("postgresql", url, None, home)


def _can_be_host(name: str) -> bool:
    """Whether the parts of a host's name have the lengths that its look-up can take."""
    return not name or (len(name) < 254 and all(0 < len(part) < 64 for part in name.removesuffix(".").split(".")))
