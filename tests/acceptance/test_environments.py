"""Where a platform lives: another user, servers of somebody else, secrets in files, homes and disks that will not do."""

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

import pyat
from tests.acceptance.commands import refusal
from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import call
from tests.support.servers import PostgresServer, ValkeyServer

MIB = 1024 * 1024
ROOM_LEFT_MIB = 20
BACK_WITHIN_S = 40.0
is_root = os.geteuid() == 0


def new_table(platform: Platform) -> str:
    """The URL of a new table with a long text."""
    body = {
        "name": "Environment",
        "workspaceId": account_of(platform, platform.token).workspace_id,
        "tables": [{"name": "T", "fields": [{"name": "Name", "type": "multilineText"}]}],
    }
    made = call("POST", f"{platform.url}/v0/meta/bases", token=platform.token, body=body)
    assert made.status == 200, made.body
    return f"{platform.url}/v0/{made.body['id']}/T"


def write(platform: Platform, url: str, text: str) -> int:
    return call("POST", url, token=platform.token, body={"fields": {"Name": text}}).status


def texts(platform: Platform, url: str) -> list[str]:
    """What the table's first page holds."""
    return [record["fields"]["Name"] for record in call("GET", url, token=platform.token).body["records"]]


def one_sentence(platform: Platform) -> str:
    """What `pyat up` says that cannot start: one line."""
    said = refusal(platform, "up").strip()
    assert len(said.splitlines()) == 1, said
    assert said.startswith("pyat: ")
    return said


# Homes


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = one_sentence(Platform(tmp_path / "file" / "home"))
    assert str(tmp_path / "file") in said
    assert "PYAT_HOME" in said


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through."""
    with tempfile.TemporaryDirectory(prefix="pyat-acceptance-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


NOBODY = pwd.getpwnam("nobody") if is_root else None
_NOT_NEEDED = ("site-packages", "test", "config-*", "idlelib", "tkinter", "ensurepip", "lib2to3")


@dataclass(frozen=True, slots=True)
class Nobody:
    """How the user nobody runs Python with our packages."""

    words: tuple[str, ...]
    env: dict[str, str]

    def platform(self, home: Path) -> Platform:
        """One that nobody starts."""
        env = {**self.env, "PYAT_SAMPLE": "0"}
        return Platform(home, env=env, command=(*self.words, "-m", "pyat", "up"))


@pytest.fixture(scope="module")
def nobody() -> Iterator[Nobody]:
    """Skips where we are not root. Python is copied where nobody else can go to it, as below root's own folder."""
    setpriv = shutil.which("setpriv")
    if NOBODY is None or setpriv is None:
        pytest.skip("only root, with setpriv at hand, can run the platform as another user")
    prefix = (setpriv, f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
    paths = [str(Path(pyat.__file__).parents[1]), sysconfig.get_path("purelib")]
    env = {"HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory(prefix="pyat-python-") as folder:
        Path(folder).chmod(0o755)
        found = Nobody((*prefix, sys.executable), env)
        if not _can_run(found):
            found = Nobody((*prefix, _copy_of_python(Path(folder))), {**env, "LD_LIBRARY_PATH": f"{folder}/lib"})
        if not _can_run(found):
            pytest.skip("the user nobody can run neither this Python nor a copy of it")
        yield found


def _can_run(nobody: Nobody) -> bool:
    # What setpriv starts itself it starts while it still has root's rights.
    python = nobody.words[-1]
    trial = f"import os; os.execv({python!r}, [{python!r}, '-c', 'import ssl, pyat.assembly.process'])"
    env = {**os.environ, **nobody.env}
    words = [*nobody.words, "-c", trial]
    return subprocess.run(words, capture_output=True, cwd="/", env=env, check=False).returncode == 0


def _copy_of_python(folder: Path) -> str:
    """Program, shared library and standard library (90 MB, half a second)."""
    program = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, folder / "lib" / library.name, ignore=shutil.ignore_patterns(*_NOT_NEEDED))
    shared = Path(sysconfig.get_config_var("LIBDIR") or "") / (sysconfig.get_config_var("INSTSONAME") or "none")
    if shared.is_file():
        shutil.copy(shared, folder / "lib")
    (folder / "bin").mkdir()
    return str(shutil.copy(program, folder / "bin" / program.name))


def test_a_normal_user_runs_it(open_folder: Path, nobody: Nobody) -> None:
    assert NOBODY is not None
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    with nobody.platform(home) as platform:
        url = new_table(platform)
        assert write(platform, url, "kept") == 200
        supervisor = psutil.Process(platform.supervisor_pid)
        running = [supervisor, *supervisor.children(recursive=True)]
        assert {process.uids().effective for process in running} == {NOBODY.pw_uid}
        assert len(running) >= 4
        # Root may look after it, and takes nothing away by that.
        secret = platform.command("token", "create", "--name", "by root").stdout.strip()
        assert call("GET", url, token=secret).status == 200
        platform.stop()
        platform.start()
        assert texts(platform, url) == ["kept"]
        owners = {path.lstat().st_uid for path in home.rglob("*") if path != platform.output}
        assert owners == {NOBODY.pw_uid}


def test_a_home_of_somebody_else_is_one_sentence(open_folder: Path, nobody: Nobody) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o755)
    finished = subprocess.run(
        [*nobody.words, "-m", "pyat", "up"],
        env=nobody.platform(home).env,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        check=False,
    )
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"pyat: PyAirtable cannot write to {home} ")
    assert "PYAT_HOME" in line
    assert list(home.iterdir()) == []


# Settings


@pytest.mark.parametrize(
    ("name", "value"), [("PYAT_PORT", "70000"), ("PYAT_ADMIN_PASSWORD", "short"), ("PYAT_ADMIN_TOKEN", "no-token")]
)
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    said = one_sentence(Platform(tmp_path / "home", env={name: value, "PYAT_SAMPLE": "0"}))
    if name == "PYAT_PORT":
        assert name in said
    assert value not in said or name == "PYAT_PORT"


def test_secrets_come_from_files_and_servers_from_elsewhere(
    own_postgres: PostgresServer, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    asyncio.run(_make_database(own_postgres))
    password, token = "by file 🐍", f"pat{secrets.token_hex(7)}.{secrets.token_hex(32)}"
    env = {}
    for name, text in {
        "ADMIN_PASSWORD": password,
        "ADMIN_TOKEN": token,
        "INTERNAL_KEY": secrets.token_hex(32),
        "DATABASE_URL": f"postgresql:///platform?host={own_postgres.folder}&user=platform",
        "VALKEY_URL": own_valkey.url,
    }.items():
        path = tmp_path / name.lower()
        path.write_text(f"{text}\n", "utf-8")
        env[f"PYAT_{name}_FILE"] = str(path)
    platform = Platform(tmp_path / "home", env={**env, "PYAT_ADMIN_EMAIL": "ops@example.org", "PYAT_SAMPLE": "0"})
    del platform.env["PYAT_ADMIN_TOKEN"]
    platform.token = token
    with platform:
        assert platform.children().keys() == {"platform"}
        assert not (platform.home.path / "postgres").exists()
        login = {"email": "ops@example.org", "password": password}
        assert call("POST", f"{platform.url}/api/v1/auth/login", body=login).status == 200
        url = new_table(platform)
        assert write(platform, url, "kept") == 200
        rows = asyncio.run(_rows(own_postgres, "SELECT count(*) FROM schema.bases"))
        assert rows[0][0] == 1
        secret = platform.command("token", "create", "--name", "beside").stdout.strip()
        assert call("GET", url, token=secret).status == 200

        # It goes on without Valkey, waits for PostgreSQL, and finds both again by itself.
        own_valkey.stop()
        assert write(platform, url, "without Valkey") == 200
        own_postgres.stop()
        assert write(platform, url, "without PostgreSQL") == 503
        assert call("GET", f"{platform.url}/health/ready").status == 503
        own_postgres.start()
        own_valkey.start()
        _wait_until_written(platform, url, "again")
        assert texts(platform, url) == ["kept", "without Valkey", "again"]
        platform.stop()
        platform.start()
        assert texts(platform, url) == ["kept", "without Valkey", "again"]


async def _make_database(server: PostgresServer) -> None:
    admin = await asyncpg.connect(server.url())
    await admin.execute("CREATE ROLE platform LOGIN")
    await admin.execute("CREATE DATABASE platform OWNER platform")
    await admin.close()


async def _rows(server: PostgresServer, text: str) -> list[Any]:
    connection = await asyncpg.connect(server.url("platform"))
    try:
        found: list[Any] = await connection.fetch(text)
        return found
    finally:
        await connection.close()


def _wait_until_written(platform: Platform, url: str, text: str) -> None:
    """Write it once. Meanwhile only the declared answer to a server that is away may come."""
    deadline_s = time.monotonic() + BACK_WITHIN_S
    while (status := write(platform, url, text)) != 200:
        assert status == 503
        assert time.monotonic() < deadline_s, platform.logs()
        time.sleep(0.05)


# Disks


@pytest.fixture
def disk(open_folder: Path) -> Iterator[Path]:
    """Where `mounted` may put a small disk."""
    place = open_folder / "disk"
    place.mkdir(mode=0o755)
    yield place
    with contextlib.suppress(OSError):
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def mounted(place: Path, size_mib: int) -> Path:
    """A disk in memory; skips where that is not possible."""
    if not is_root or shutil.which("mount") is None:
        pytest.skip("Only root can make a disk that is soon full")
    words = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=755", "pyat-acceptance", str(place)]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"No disk can be mounted here: {tried.stderr.strip()}")
    return place


def test_a_disk_too_small_to_start_is_one_sentence(disk: Path) -> None:
    said = one_sentence(Platform(mounted(disk, 20) / "home"))
    assert "full" in said
    assert str(disk) in said


def test_a_disk_that_becomes_full_refuses_writes_and_loses_none(disk: Path) -> None:
    home = mounted(disk, 300) / "home"
    env = {"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}
    with Platform(home, env=env) as platform:
        url = new_table(platform)
        assert write(platform, url, "first") == 200
        filler = disk / "filler"
        _fill(filler)
        # Room for some rows, then for none; the log of changes ends there as well, which PostgreSQL does not survive.
        os.truncate(filler, filler.stat().st_size - ROOM_LEFT_MIB * MIB)
        acknowledged, statuses = _write_until_refused(platform, url)
        assert statuses[200] > 0, statuses
        assert statuses[503] > 0, statuses
        assert statuses.keys() <= {200, 503}, statuses
        # Not even a line of a log can be written now.
        _fill(filler)
        for number in range(20):
            answer = call("POST", url, token=platform.token, body={"fields": {"Name": f"full-{number}"}})
            assert answer.status == 200 or (answer.status, answer.body["error"]["type"]) == (503, "RETRIABLE_ERROR")
            acknowledged += [f"full-{number}"] if answer.status == 200 else []
            assert call("GET", url, token=platform.token).status in (200, 503)
        filler.unlink()
        _wait_until_written(platform, url, "after")
        found: list[str] = []
        offset = ""
        while True:
            page = call("GET", f"{url}?offset={offset}", token=platform.token).body
            found += [record["fields"]["Name"].split(" ")[0] for record in page["records"]]
            offset = page.get("offset", "")
            if not offset:
                break
        assert Counter(found) >= Counter(["first", *acknowledged, "after"])
        assert max(Counter(found).values()) == 1


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for size in (MIB, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def _write_until_refused(platform: Platform, url: str) -> tuple[list[str], Counter[int]]:
    """Long texts into what is left of the disk, until several writes were refused."""
    acknowledged: list[str] = []
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def work(number: int) -> None:
        for turn in range(400):
            name = f"{number}-{turn}"
            # Random, so that it takes the room that it seems to.
            status = write(platform, url, f"{name} {secrets.token_hex(45_000)}")
            with lock:
                statuses[status] += 1
                if status == 200:
                    acknowledged.append(name)
                if statuses[503] >= 5:
                    return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    return acknowledged, statuses


def test_the_state_of_a_stopped_home_is_told(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home")
    assert "does not run" in refusal(platform, "status")
    assert not (tmp_path / "home" / "postgres").exists()
    assert (
        not (tmp_path / "home" / "state.json").exists()
        or json.loads((tmp_path / "home" / "state.json").read_text()).get("pid") is None
    )
