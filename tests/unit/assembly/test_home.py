"""The home's lock, secrets and small files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyat.assembly.embedded.errors import AlreadyRunning, HomeError
from pyat.assembly.embedded.files import log_lines, log_tail, rotate_logs, write_private
from pyat.assembly.embedded.home import SOCKET_PATH_BYTES_MAX, Home
from pyat.assembly.supervisor import Plan, ProcessSpec


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A prepared home."""
    found = Home(tmp_path / "home", shared_root=tmp_path / "shared")
    found.prepare()
    return found


def test_secrets_are_made_once_and_are_private(home: Home) -> None:
    made = home.secrets()
    assert sorted(made) == ["internal_key", "postgres_admin_password", "postgres_password"]
    assert len(set(made.values())) == 3 and all(len(secret) == 64 for secret in made.values())
    assert Home(home.path).secrets() == made
    assert (home.path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir(mode=0o750)
    Home(own).prepare()
    assert own.stat().st_mode & 0o777 == 0o750
    assert (own / "logs").stat().st_mode & 0o777 == 0o700


def test_the_lock_names_who_has_it(home: Home) -> None:
    assert not home.is_locked()
    home.lock(url="http://127.0.0.1:8080")
    assert home.is_locked()
    with pytest.raises(AlreadyRunning) as raised:
        Home(home.path).lock()
    assert f"already runs on this home (pid {os.getpid()}, http://127.0.0.1:8080)" in str(raised.value)
    home.unlock()
    assert not home.is_locked()
    home.lock()
    with pytest.raises(AlreadyRunning, match=f"A command of PyAirtable \\(pid {os.getpid()}\\)"):
        Home(home.path).lock()
    home.unlock()


def test_a_look_at_the_lock_does_not_take_it(home: Home) -> None:
    home.lock()
    assert [Home(home.path).is_locked() for _ in range(2)] == [True, True]
    home.unlock()
    assert [Home(home.path).is_locked() for _ in range(2)] == [False, False]


def test_a_home_can_be_moved(home: Home, tmp_path: Path) -> None:
    inside = home.sockets.is_relative_to(home.path)
    home.path.rename(tmp_path / "moved")
    moved = Home(tmp_path / "moved")
    assert moved.sockets.is_relative_to(moved.path) == inside
    if inside:
        assert moved.postgres == tmp_path / "moved" / "postgres"


def test_sockets_of_a_long_home_are_short(tmp_path: Path) -> None:
    home = Home(tmp_path / ("x" * 120), shared_root=tmp_path / ("y" * 120))
    home.prepare()
    longest = home.sockets / "postgres" / ".s.PGSQL.5432"
    assert len(os.fsencode(longest)) <= SOCKET_PATH_BYTES_MAX
    assert home.sockets != Home(tmp_path / ("z" * 120)).sockets


def test_an_unreadable_file_is_one_sentence(home: Home) -> None:
    (home.path / "secrets.json").write_text("{")
    with pytest.raises(HomeError, match=r"secrets\.json cannot be read"):
        home.secrets()


def test_a_state_that_was_cut_off_is_none(home: Home) -> None:
    home.keep_state({"pid": 1})
    assert home.state() == {"pid": 1}
    (home.path / "state.json").write_text("{")
    assert home.state() == {}


def test_shared_data_of_a_removed_home_is_left_alone(tmp_path: Path) -> None:
    """A new home at the same path has other passwords."""
    shared = tmp_path / "shared"
    home = Home(tmp_path / "home", shared_root=shared)
    old = shared / home.digest / "postgres" / "data"
    old.mkdir(parents=True)
    home.prepare()
    assert home.postgres / "data" != old
    # A home of an earlier release has secrets, and no layout yet.
    (home.path / "layout.json").unlink()
    home.secrets()
    earlier = Home(home.path, shared_root=shared)
    earlier.prepare()
    assert earlier.postgres / "data" == old


def test_an_impossible_home_is_one_sentence() -> None:
    with pytest.raises(HomeError, match="PyAirtable cannot write to /dev/null/home"):
        Home(Path("/dev/null/home")).prepare()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "new\ud800")
    assert path.read_text() == "old"
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_logs_are_bounded_and_their_writers_go_on(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        rotate_logs(tmp_path, bytes_max=400)
        assert log.stat().st_size == 400
        writer.write(b"one more\n")
        rotate_logs(tmp_path, bytes_max=400)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "server.log.1").read_bytes() == b"old\n" * 100 + b"one more\n"


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("".join(f"line {number}\n\n" for number in range(2000)))
    assert log_tail(log, lines_max=2) == "line 1998 | line 1999"
    start = log.stat().st_size
    assert log_lines(log, since_bytes=start) == []
    log.write_text("cut\n")
    assert log_lines(log, since_bytes=start) == ["cut"]
    assert log_tail(tmp_path / "absent.log") == ""


def test_a_plan_survives_its_way_as_text() -> None:
    spec = ProcessSpec("one", ("program", "word"), 8081, env={"A": "b"}, needs=("postgres",))
    plan = Plan(home="/home", url="http://127.0.0.1:8080", mode="processes", processes=(spec,), prepare=("prepare",))
    assert Plan.from_json(plan.to_json()) == plan


def test_the_supervisor_imports_the_standard_library_alone() -> None:
    """It stays small, and nothing of the application can break it."""
    script = "import sys, pyat.assembly.supervisor; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = set(output.split())
    assert "pyat" in loaded
    known = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert loaded - set(known) - sys.stdlib_module_names == {"pyat"}
    assert not loaded & {"asyncio", "ssl", "http", "email", "ctypes"}
