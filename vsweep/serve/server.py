"""The page over HTTP, for this machine's own users with the link and for nobody else.

- It listens on 127.0.0.1, and answers only requests whose Host is this machine: a name that an attacker lets point here
  (DNS rebinding) is refused.
- The first part of every path is a random token, compared in constant time.
- What follows it is looked up whole in a table of known names. No part of a request ever becomes the name of a file.
- GET and HEAD only; nothing is ever written.
- The page may load only its own script, style and frame. The report is shown in a sandbox of its own.
"""

import hmac
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

from vsweep.serve.state.directory import Directory
from vsweep.serve.watcher import Watcher

OWN_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
STATIC = {"": "live.html", "live.css": "live.css", "live.js": "live.js", "chart.js": "chart.js"}  # path -> file
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
MOST_STREAMS = 32
SIGN_OF_LIFE_S = 15.0  # a stream that says nothing for longer may be closed by what lies between
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Its own policy, which lets no request leave, stands in the report itself; here it loses the page's origin too.
REPORT_POLICY = "sandbox allow-scripts allow-downloads allow-popups; frame-ancestors 'self'"


class PageServer(ThreadingHTTPServer):
    """Serves the page of `workdirs` on a socket that listens already."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, token: str, workdirs: Sequence[Path]):
        self.token = token.encode()
        self.watcher = Watcher([Directory(path) for path in workdirs])
        super().__init__(listening.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.watcher.start()

    def known(self) -> dict[str, Callable[["Handler"], None]]:
        """What follows the token -> how it is answered."""
        static = {name: partial(Handler.send_static, name=file) for name, file in STATIC.items()}
        reports = {
            f"report/{place}": partial(Handler.send_report, directory=directory)
            for place, directory in enumerate(self.watcher.directories)
        }
        return {**static, **reports, "events": Handler.send_events}

    def handle_error(self, *_) -> None:
        """A reader that is gone is no error of the server's."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vsweep", ""
    timeout = 60  # seconds that a reader may take to ask, or to accept a piece

    def do_GET(self) -> None:
        """Answers, or refuses with one line."""
        if refusal := self._refusal():
            self._send(*refusal, "text/plain")
            return
        _, _, rest = self.path.partition("?")[0].removeprefix("/").partition("/")
        answer = self.server.known().get(rest)
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, b"nothing here\n", "text/plain")
        else:
            answer(self)

    do_HEAD = do_GET

    def parse_request(self) -> bool:
        """As the library does, and no method but GET and HEAD."""
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            return True
        self.close_connection = True  # a body may follow, which nobody reads
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD only\n", "text/plain", {"Allow": "GET, HEAD"})
        return False

    def _refusal(self) -> tuple[HTTPStatus, bytes] | None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not OWN_NAMES.fullmatch(hosts[0].strip()):
            return HTTPStatus.MISDIRECTED_REQUEST, b"ask for localhost or 127.0.0.1\n"
        given = self.path.removeprefix("/").partition("/")[0].encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self.server.token):
            return HTTPStatus.FORBIDDEN, b"open the whole link that vsweep printed: it ends with a token\n"
        return None

    def send_static(self, *, name: str) -> None:
        """A file of the package."""
        content = resources.files("vsweep.serve").joinpath("static", name).read_bytes()
        self._send(HTTPStatus.OK, content, TYPES[Path(name).suffix], {"Content-Security-Policy": PAGE_POLICY})

    def send_report(self, *, directory: Directory) -> None:
        """The report of a work directory, as it stands."""
        try:
            content = directory.report()
        except OSError:
            self._send(HTTPStatus.NOT_FOUND, b"no report yet\n", "text/plain")
            return
        self._send(HTTPStatus.OK, content, "text/html", {"Content-Security-Policy": REPORT_POLICY})

    def send_events(self) -> None:
        """A stream of messages, each about one work directory: all at first, then what is new."""
        with self.server.watcher.reading(MOST_STREAMS) as allowed:
            if not allowed:
                self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"too many pages are open\n", "text/plain")
                return
            self.close_connection = True
            self._begin(HTTPStatus.OK, "text/event-stream", {"Connection": "close"})
            if self.command == "GET":
                self._stream()

    def _stream(self) -> None:
        seen, said_at = [0] * len(self.server.watcher.directories), time.monotonic()
        while not select.select([self.connection], [], [], 0)[0]:  # readable: the reader is gone, it has no more to say
            messages = [f"data: {message}\n\n" for message in self.server.watcher.news(seen)]
            if not messages and time.monotonic() - said_at > SIGN_OF_LIFE_S:
                messages = [": still here\n\n"]
            if messages:
                said_at = time.monotonic()
                self.wfile.write("".join(messages).encode())

    def _send(self, status: HTTPStatus, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self._begin(status, kind, {"Content-Length": str(len(content)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _begin(self, status: HTTPStatus, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        always = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        for name, value in {**always, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_) -> None:
        """Nothing: the token would stand in it."""
