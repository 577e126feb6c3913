"""Where the page is: a socket on this machine only, and the link with the token that opens it."""

import secrets
import socket

from vsweep.config.problems import ConfigError, Problem

HOST = "127.0.0.1"


def listen(port: int, flag: str = "--port") -> socket.socket:
    """A socket on this machine only; port 0 takes a free one. Raises ConfigError where that cannot be had."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
        found.listen(64)
    except OSError as error:
        found.close()
        what = f"cannot be listened on ({error.strerror or error})"
        raise ConfigError([Problem(flag, what, str(port), "a free port above 1023, or 0 for any")]) from None
    return found


def new_token() -> str:
    """43 characters that nobody guesses."""
    return secrets.token_urlsafe(32)


def address(listening: socket.socket, token: str) -> str:
    """The link that opens the page."""
    return f"http://{HOST}:{listening.getsockname()[1]}/{token}/"
