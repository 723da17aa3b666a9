"""The pages of a report over HTTP, from the database as it is when they are asked for. It changes nothing.

GET and HEAD alone, of the paths that the report has: no file is looked up by a path that came over the network. Every
request has a connection of its own, which the database keeps from writing.
"""

import contextlib
import errno
import ipaddress
import json
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from tinyablate.errors import TinyablateError, UsageError
from tinyablate.report import found
from tinyablate.report.site import INDEX, Site
from tinyablate.store import schema
from tinyablate.store.reading import ReadOnly
from tinyablate.store.store import Store, open_existing
from tinyablate.terminal import say, show

STATE = "state.json"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".json": "application/json",
         ".svg": "image/svg+xml", ".csv": "text/csv; charset=utf-8"}  # fmt: skip
HEADERS = {
    # Scripts and styles only from here, and nobody may frame the page or send what it holds elsewhere.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OTHER_PORTS = 50
"""So many ports above a taken one are tried, to name a free one."""


def serve(names: Sequence[str], db: str, host: str = "127.0.0.1", port: int = 8765, machine: str = "") -> None:
    """Serve the report of these sweeps (of all in the database, if none is named) until Ctrl-C.

    Prints the address to stdout. Raises UsageError for a host or port that cannot be had, SweepError, StoreError.
    """
    live = Live(names, db, machine)
    with open_existing(db):  # an older database is migrated now, for the connections below only read
        pass
    with live.store() as store:  # a broken file is told now, not to the first reader
        live.site(store)
    with bound(live, host, port) as server:
        if not _is_loopback(str(server.server_address[0])):
            say(f"warning: --host {host}: whoever reaches this machine's network can read these results")
        show(f"http://{_named(host)}:{server.server_address[1]}/")
        say("Ctrl-C stops")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)


class Live:
    """The report as the database and the sweeps' files make it now; rendered again only when they have changed."""

    def __init__(self, names: Sequence[str], db: str, machine: str = "") -> None:
        self._names, self._db, self._machine = tuple(names), db, machine
        self._lock = threading.Lock()
        self._site = Site([])
        self._state = ""

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The database, through connections that cannot write."""
        with ReadOnly(self._db) as store:
            yield store

    def state(self, store: Store) -> str:
        """Text that changes whenever a page would."""
        t, a = schema.trials.c, schema.attempts.c
        with store.backend.read() as connection:
            trials = connection.execute(sa.select(sa.func.count(), sa.func.max(t.updated_at))).one()
            last = connection.execute(sa.select(sa.func.count(), sa.func.max(a.id), sa.func.max(a.ended_at))).one()
            wanted = sa.select(a.id, a.epoch, t.owner, t.lease_until).where(t.id == a.trial_id, t.fence == a.fence)
            running = connection.execute(wanted.where(t.state == "running").order_by(a.id)).all()
        holds = store.leases_now()
        alive = [(number, epoch, holds(owner, until)) for number, epoch, owner, until in running]
        text = repr([tuple(trials), tuple(last), alive, found.stamp(self._names, store)])
        return sha256(text.encode()).hexdigest()[:16]

    def site(self, store: Store) -> Site:
        """The report of this moment."""
        state = self.state(store)
        if state != self._state:
            sweeps = found.named(self._names) if self._names else found.stored(store)[0]
            self._site, self._state = Site(sweeps, self._machine, state), state
        return self._site

    def answer(self, path: str) -> bytes | None:
        """The page or file at `path`; None where there is none. One is rendered at a time."""
        with self._lock, self.store() as store:
            if path == STATE:
                return json.dumps({"state": self.state(store)}).encode()
            return self.site(store).page(path, store)


# ---- addresses -------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """A server of one `Live`."""

    daemon_threads = True

    def __init__(self, live: Live, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.live = live
        self.names = {address[0].lower(), socket.gethostname().lower()}
        self.address_family = family
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """As the base class, without asking the network for this machine's name, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader who has gone is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def bound(live: Live, host: str, port: int) -> Server:
    """A server that listens at this address; port 0 is any free one. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not host:  # the socket would take it for every address of this machine
        raise UsageError("--host: is empty; valid: 127.0.0.1, ::1, or this machine's own")
    try:
        return Server(live, (host, port), family)
    except (socket.gaierror, UnicodeError, ValueError, TypeError) as error:  # TypeError: no UTF-8, a null byte
        name = host[:60]
        raise UsageError(f"--host {name}: no such address; valid: 127.0.0.1, ::1, or this machine's own") from error
    except PermissionError as error:
        raise UsageError(f"--port {port}: is not yours to open; take one from 1024") from error
    except OSError as error:
        raise UsageError(_refused(host, port, family, error)) from error


def _refused(host: str, port: int, family: socket.AddressFamily, error: OSError) -> str:
    """Why the address cannot be had, and what can."""
    if error.errno != errno.EADDRINUSE:
        return f"--host {host}: cannot be listened at: {error.strerror}; valid: 127.0.0.1, ::1, or this machine's own"
    for other in range(port + 1, min(port + OTHER_PORTS, 65536)):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, other))
            return f"--port {port}: is taken by another program; {other} is free: --port {other}"
    return f"--port {port}: is taken by another program; --port 0 takes any free one"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _named(host: str) -> str:
    """As an address has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


# ---- requests --------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One connection: what is asked for is one of the report's paths, or refused."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30
    server_version = "tinyablate"
    sys_version = ""

    def do_GET(self) -> None:
        """A page, a file or the state."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Its headers."""
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if not self._is_ours():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"this server does not answer to that name\n", ".txt", body)
            return
        path = unquote(self.path.partition("?")[0]).removeprefix("/") or INDEX
        try:
            content = self.server.live.answer(path)
        except (TinyablateError, sa.exc.SQLAlchemyError) as error:  # a file is being edited, the database is away
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode("utf-8", "replace"), ".txt", body)
            return
        if content is None:
            self._send(HTTPStatus.NOT_FOUND, b"no such page\n", ".txt", body)
        else:
            self._send(HTTPStatus.OK, content, path[path.rindex(".") :], body)

    def _is_ours(self) -> bool:
        """Whether the request names this server: a name of another site that leads here is an attack on its reader.

        Numeric addresses are no names that somebody else could have given away.
        """
        name = ""
        with contextlib.suppress(ValueError):
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            return bool(ipaddress.ip_address(name))
        return name == "localhost" or name in self.server.names

    def _send(self, status: HTTPStatus, content: bytes, suffix: str, body: bool) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", TYPES.get(suffix, "text/plain; charset=utf-8"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refuse(self) -> None:
        self.close_connection = True  # its body, if any, is not read
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page asks every two seconds."""
