"""What the server answers, and above all what it refuses."""

import contextlib
import itertools
import json
import os
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.vsweep.serve import planted
from tests.vsweep.small import tree
from vsweep.serve import link


def stream(served) -> Iterator[dict]:
    """The messages of the server, as they come."""
    with urllib.request.urlopen(f"http://{link.HOST}:{served.port}/{served.token}/events", timeout=20) as opened:
        for line in opened:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def events(served, count: int) -> list[dict]:
    """The first messages of a stream."""
    with contextlib.closing(stream(served)) as messages:
        return list(itertools.islice(messages, count))


def test_the_page_and_its_files_are_served(serve, workdir):
    served = serve(workdir)
    assert [served.get(name).status for name in ("", "live.js", "chart.js", "live.css")] == [200] * 4
    assert served.get().headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert b"<script>" not in served.get().body


def test_nothing_is_served_without_the_token(serve, workdir):
    served = serve(workdir)
    wrong = served.token[:-1] + ("a" if served.token[-1] != "a" else "b")
    asked = [
        "/",
        "/events",
        "/report/0",
        f"/{wrong}/",
        f"/{wrong}/events",
        f"/x/{served.token}/",
        f"/{served.token[:9]}/",
    ]
    assert {path: served.ask(path).status for path in asked} == dict.fromkeys(asked, 403)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", "localhost:x"]
)
def test_another_host_is_refused(serve, workdir, host):
    assert serve(workdir).get(host=host).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8400", "[::1]:1"])
def test_any_port_of_this_machine_is_allowed(serve, workdir, host):
    assert serve(workdir).get(host=host).status == 200


def test_two_hosts_are_refused(serve, workdir):
    served = serve(workdir)
    connection = HTTPConnection(link.HOST, served.port, timeout=20)
    connection.putrequest("GET", f"/{served.token}/", skip_host=True)
    connection.putheader("Host", "localhost")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status == 421
    connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "STRANGE"])
def test_only_reading_methods_are_allowed(serve, workdir, method):
    answer = serve(workdir).get(method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_no_body(serve, workdir):
    served = serve(workdir)
    answer = served.get(method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(served.get().body)
    assert served.get("events", method="HEAD").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "../config.json",
        "..%2fconfig.json",
        "%2e%2e/config.json",
        "report/../../config.json",
        "report/0/../../../../etc/passwd",
        "report/1",
        "report/00",
        "report/-1",
        "report/",
        "config.json",
        "runs.csv",
        "/etc/passwd",
        "live.html",
        "live.js%00",
        "static/live.js",
        "events/",
        "\\..\\config.json",
    ],
)
def test_no_path_leads_anywhere_else(serve, workdir, path):
    assert serve(workdir).get(path).status == 404


def test_the_report_is_shown_in_a_sandbox(serve, workdir):
    served = serve(workdir)
    assert served.get("report/0").status == 404
    (workdir / "analysis").mkdir()
    (workdir / "analysis" / "report.html").write_text("<!doctype html>the report")
    answer = served.get("report/0?drawn=7")
    assert (answer.status, answer.body) == (200, b"<!doctype html>the report")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy


@pytest.mark.parametrize("linked", ["analysis", "analysis/report.html"])
def test_no_link_in_a_work_directory_is_followed(serve, workdir, linked, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "report.html").write_text("a secret")
    if linked == "analysis":
        (workdir / "analysis").symlink_to(outside)
    else:
        (workdir / "analysis").mkdir()
        (workdir / linked).symlink_to(outside / "report.html")
    assert serve(workdir).get("report/0").status == 404


def test_a_pipe_in_a_files_place_is_not_waited_for(serve, workdir):
    (workdir / "analysis").mkdir()
    os.mkfifo(workdir / "analysis" / "report.html")
    assert serve(workdir).get("report/0").status == 404


def test_events_tell_what_is_new(serve, workdir):
    with contextlib.closing(stream(serve(workdir))) as messages:
        first = next(messages)
        assert first["summary"]["counts"] == {"all": 9, "finished": 6, "running": 3, "queued": 0, "diverged": 0}
        assert len(first["curves"]) == 9
        assert first["summary"]["doing"] == "stopped"
        planted.write_live(workdir, points={"w16-s1": [[500, 2.0, 2.0, 1.0, 0.5]]})
        second = next(messages)
    assert (second["summary"]["doing"], second["summary"]["eta_s"]) == ("training", 60.0)
    assert second["curves"].keys() == {"w16-s1"}
    assert second["curves"]["w16-s1"][-1] == [4000, 1.0, 2.0, 0.5]


def test_several_directories_come_in_one_stream(serve, workdir, tmp_path):
    other = planted.write(tmp_path / "other", planted.Planted(title="the other"))
    found = events(serve(workdir, other), 2)
    assert {message["place"]: message["summary"]["title"] for message in found} == {0: "planted", 1: "the other"}


def test_hostile_names_stay_data(serve, tmp_path):
    name = "</script><img src=x onerror=alert(1)>{width}-{seed}"
    hostile = planted.write(tmp_path / "hostile", planted.Planted(name=name, title=name))
    served = serve(hostile)
    (message,) = events(served, 1)
    assert len(message["curves"]) == 9
    assert b"onerror" not in served.get().body


def test_serving_writes_nothing(serve, workdir):
    before = tree(workdir)
    events(serve(workdir), 1)
    assert tree(workdir) == before


def test_the_log_never_holds_the_token(serve, workdir, capfd):
    served = serve(workdir)
    served.get()
    served.ask("/")
    assert served.token not in "".join(capfd.readouterr())
