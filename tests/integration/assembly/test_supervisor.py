"""The supervisor: starts in order, restarts whoever dies, stops in order, and says in one sentence what is wrong."""

import contextlib
import http.client
import os
import signal
import socket
import threading
from pathlib import Path

import asyncpg
import pytest

from tests.integration.assembly.harness import (
    Supervised,
    application,
    free_port,
    is_alive,
    processes_in,
    wait_for,
    zombies_of,
)


def test_whoever_dies_is_started_again_and_the_others_go_on(home: Path) -> None:
    """kill -9 of the postmaster, of Valkey and of an application; what was written stays; no zombie is left."""
    port = free_port()
    with Supervised(home, applications=[application("one", port), application("two", port)]).start() as supervised:
        supervised.sql("CREATE TABLE kept AS SELECT 42 AS value")
        two = supervised.child("two")

        supervised.kill_child("postgres")
        assert supervised.sql("SELECT value FROM kept") == 42
        supervised.kill_child("valkey")
        assert supervised.valkey().set("key", "value")
        supervised.kill_child("one")
        assert supervised.child("two") == two

        restarts = {name: child["restarts"] for name, child in supervised.children().items()}
        assert restarts == {"one": 1, "two": 0, "postgres": 1, "valkey": 1}
        wait_for(lambda: not zombies_of(supervised.pid), "zombies to be let go of")
        supervised.stop()
        assert processes_in(home / "postgres" / "data") == []


async def test_a_killed_backend_costs_its_connection_and_nothing_else(home: Path) -> None:
    with Supervised(home).start() as supervised:
        postmaster = supervised.child("postgres")
        connection = await asyncpg.connect(supervised.database_url)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
        os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await connection.fetchval("SELECT 1")

        found = await supervised.value_once_up("SELECT value FROM kept")
        assert found == 42
        assert supervised.child("postgres") == postmaster


def test_servers_of_a_killed_supervisor_are_taken_over(home: Path) -> None:
    """Applications end with their supervisor, servers go on, and the next supervisor has them and the port at once."""
    applications = [application("one", free_port())]
    with Supervised(home, applications=applications).start() as first:
        first.sql("CREATE TABLE kept AS SELECT 42 AS value")
        first.valkey().set("key", "value")
        before = {name: first.child(name) for name in ("one", "postgres", "valkey")}
        first.kill()
        wait_for(lambda: not is_alive(before["one"] or 0), "the application to end")
        assert first.sql("SELECT value FROM kept") == 42

        with Supervised(home, applications=applications).start() as second:
            after = {name: second.child(name) for name in ("one", "postgres", "valkey")}
            assert (after["postgres"], after["valkey"]) == (before["postgres"], before["valkey"])
            assert second.valkey().get("key") == b"value"
            # Nobody's child any more, yet its end is seen.
            second.kill_child("postgres")
            second.kill_child("valkey")
            assert second.sql("SELECT value FROM kept") == 42
            second.stop()
            assert processes_in(home / "postgres" / "data") == []


def test_supervisor_postmaster_and_valkey_killed_together(home: Path) -> None:
    """Backends that compute outlive their postmaster for a moment; the next start does not stumble over them."""
    with Supervised(home).start() as first:
        first.sql("CREATE TABLE kept AS SELECT 42 AS value")
        busy = threading.Thread(target=_compute_until_killed, args=(first,))
        busy.start()
        wait_for(
            lambda: first.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%1e15%'") > 1, "a busy backend"
        )
        first.kill()
        killed = [first.child(name) or 0 for name in ("postgres", "valkey")]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        with Supervised(home).start() as second:
            assert second.sql("SELECT value FROM kept") == 42
            assert not any(second.child(name) in killed for name in ("postgres", "valkey"))
        busy.join()


def _compute_until_killed(supervised: Supervised) -> None:
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        supervised.sql("SELECT count(*) FROM generate_series(1, 1e15)")


def test_servers_that_hang_are_replaced(home: Path) -> None:
    with Supervised(home).start() as first:
        first.sql("CREATE TABLE kept AS SELECT 42 AS value")
        first.kill()
        hung = [first.child(name) or 0 for name in ("postgres", "valkey")]
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        with Supervised(home).start() as second:
            assert not any(is_alive(pid) for pid in hung)
            assert second.sql("SELECT value FROM kept") == 42


def test_no_connection_is_refused_while_workers_are_restarted(home: Path) -> None:
    """Workers share one listening socket that the supervisor keeps: killed, they lose what they were answering, no more."""
    port = free_port()
    refused, answered = [], []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("GET", "/")
                answered.append(connection.getresponse().status)
            except ConnectionRefusedError as error:
                refused.append(error)
            except (OSError, http.client.HTTPException):
                pass  # it was being answered by the one that was killed
            finally:
                connection.close()

    with Supervised(home, applications=[application("one", port), application("two", port)]).start() as supervised:
        thread = threading.Thread(target=ask)
        thread.start()
        for name in ("one", "two"):
            os.kill(supervised.child(name) or 0, signal.SIGKILL)
        wait_for(
            lambda: all(supervised.children()[name]["restarts"] == 1 for name in ("one", "two")), "both to be restarted"
        )
        count = len(answered)
        wait_for(lambda: len(answered) > count + 3, "answers by the new ones")
        is_over.set()
        thread.join()
    assert refused == []


def test_a_process_that_keeps_dying_is_started_less_and_less_often(home: Path) -> None:
    port, other = free_port(), free_port()
    with Supervised(
        home, applications=[application("steady", other), application("dying", port)]
    ).start() as supervised:
        for number in range(1, 6):
            with contextlib.suppress(OSError, http.client.HTTPException):
                supervised.get("/die", port=port)
            wait_for(lambda number=number: supervised.children()["dying"]["restarts"] >= number, "another restart")  # type: ignore[misc]
        assert supervised.children()["steady"]["restarts"] == 0
        log = supervised.stop()
    assert "dying ended with status 3; starting it again.\n" in log
    assert "dying ended with status 3; starting it again in 0.1 s" in log
    assert "dying ended 5 times in a row, now with status 3; starting it again in 1 s" in log


def test_a_process_that_cannot_start_ends_the_start(home: Path) -> None:
    with Supervised(home, applications=[application("broken", free_port(), "--broken")]) as supervised:
        supervised.launch()
        said = supervised.error()
        assert said.startswith("ProcessFailed: broken ends with status 1 when started: its log is ")
        assert said.endswith("It said: this application is broken")
        assert processes_in(home / "postgres" / "data") == []
        assert supervised.home.state()["phase"] == "stopped"


def test_needs_are_ready_first(home: Path, place: Path) -> None:
    ready = place / "ready"
    applications = [
        application("second", free_port(), needs=("first", "postgres")),
        application("first", free_port(), "--ready-after", str(ready)),
    ]
    with Supervised(home, applications=applications) as supervised:
        supervised.launch()
        port = applications[1].port
        wait_for(lambda: (supervised.children().get("first") or {}).get("pid") is not None, "first to be started")
        assert supervised.get("/health/ready", port=port)[0] == 503
        assert supervised.child("second") is None
        ready.touch()
        supervised.wait_until_ready()
        assert supervised.child("second") is not None


def test_processes_are_told_where_everything_is(home: Path) -> None:
    applications = [application("one", free_port())]
    with Supervised(home, applications=applications, env={"OWN": "kept"}).start() as supervised:
        environment = supervised.get("/")[1]["environment"]
    assert environment["PYAT_HOME"] == str(home)
    assert environment["PYAT_DATABASE_URL"] == supervised.database_url
    assert environment["PYAT_VALKEY_URL"].startswith("unix://")
    assert len(environment["PYAT_INTERNAL_KEY"]) == 64
    assert environment["OWN"] == "kept"


def test_preparing_is_repeated_when_disturbed(home: Path, place: Path) -> None:
    script = f'test -e {place}/tried && test -n "$PYAT_DATABASE_URL" && exit 0; touch {place}/tried; kill -9 $$'
    with Supervised(home, prepare=("/bin/sh", "-c", script)).start() as supervised:
        assert "was disturbed; trying again" in supervised.stop()


def test_preparing_that_fails_ends_the_start(home: Path) -> None:
    with Supervised(home, prepare=("/bin/sh", "-c", "echo the reason; exit 4")) as supervised:
        supervised.launch()
        said = supervised.error()
    assert said.startswith("ProcessFailed: The database could not be prepared: its log is ")
    assert said.endswith("It said: the reason")


def test_answers_under_way_are_finished_before_the_stop(home: Path) -> None:
    answered: list[int] = []
    with Supervised(home, applications=[application("one", free_port())]).start() as supervised:
        asking = threading.Thread(target=lambda: answered.append(supervised.get("/slow")[0]))
        asking.start()
        wait_for((home / "slow").exists, "the request to arrive")
        supervised.stop()
        asking.join()
        assert answered == [200]
        assert supervised.home.state()["phase"] == "stopped"
        # PostgreSQL was given the time to end in order: the next start recovers nothing.
        assert "database system is shut down" in supervised.logged("postgres")
        assert not supervised.home.is_locked()


def test_a_second_start_on_the_same_home_is_told_who_is_there(home: Path) -> None:
    with Supervised(home, applications=[application("one", free_port())]).start() as first:
        with Supervised(home, applications=[application("one", free_port())]) as second:
            second.launch()
            said = second.error()
        expected = f"AlreadyRunning: PyAirtable already runs on this home (pid {first.pid}, {first.plan.url})"
        assert said.startswith(expected)
        assert first.get("/")[0] == 200


def test_a_taken_port_is_found_before_anything_is_started(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Supervised(place / "home", applications=[application("one", port)]) as supervised:
            supervised.launch()
            said = supervised.error()
    assert said.startswith(f"PortTaken: Port {port} of 127.0.0.1 is taken by ")
    assert f"(pid {os.getpid()})" in said
    assert "set PYAT_PORT to another port" in said
    assert not (place / "home" / "postgres").exists()


def test_told_to_stop_during_the_first_start(place: Path) -> None:
    """The start is given up at once, nothing stays behind, and the next one does what this one did not."""
    with Supervised(place / "home") as supervised:
        supervised.launch()
        wait_for((place / "home" / "postgres" / "draft").exists, "the setup to begin")
        supervised.stop()
        assert supervised.home.state()["phase"] == "stopped"
        assert not (place / "home" / "postgres" / "data").exists()
    with Supervised(place / "home").start() as supervised:
        assert supervised.sql("SELECT current_user") == "pyat"


def test_a_program_that_is_not_there_is_one_sentence(home: Path) -> None:
    absent = application("absent", free_port())
    spec = type(absent)(absent.name, ("/no/such/program",), absent.port)
    with Supervised(home, applications=[spec]) as supervised:
        supervised.launch()
        assert supervised.error() == (
            "ProcessFailed: absent cannot be started: /no/such/program: No such file or directory."
        )
