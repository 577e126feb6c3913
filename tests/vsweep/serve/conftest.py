"""A page on a free port, in a thread of the test."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.vsweep.serve import planted
from vsweep.serve import link, server


@dataclass
class Served:
    """A server with its port and token."""

    port: int
    token: str
    page: server.PageServer

    def ask(self, path: str, method: str = "GET", host: str | None = None, **headers: str) -> HTTPResponse:
        """The answer to one request; `path` as it is put on the wire, its body read into `.body`."""
        connection = HTTPConnection(link.HOST, self.port, timeout=20)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True)
            for name, value in {"Host": host or f"localhost:{self.port}", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer

    def get(self, rest: str = "", **options) -> HTTPResponse:
        return self.ask(f"/{self.token}/{rest}", **options)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts servers of work directories."""
    started = []

    def start(*workdirs: Path) -> Served:
        listening, token = link.listen(0), link.new_token()
        page = server.PageServer(listening, token, workdirs)
        thread = threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        started.append((page, thread))
        return Served(listening.getsockname()[1], token, page)

    yield start
    for page, thread in started:
        page.shutdown()
        thread.join()
        page.socket.close()


@pytest.fixture
def workdir(tmp_path) -> Path:
    return planted.write(tmp_path / "sweep")
