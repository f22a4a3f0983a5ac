"""The disk of the labs does what it says: it sees every call by which a store is written."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import lmdb

from tests.faults.disk import Disk, Kind

PYTHON = (sys.executable, "-c")


def run(disk: Disk, code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(disk.command((*PYTHON, code)), check=False, capture_output=True)


def test_every_call_of_a_commit_is_in_the_log_in_order(tmp_path: Path) -> None:
    """Pages, then a sync, then the meta page through O_DSYNC: what they hold makes the file."""
    data = tmp_path / "data"
    data.mkdir()
    disk = Disk(data, tmp_path / "disk", log=True)
    begun = time.monotonic_ns()
    run(
        disk,
        "import lmdb\n"
        f"env = lmdb.open({str(data)!r})\n"
        "for n in range(20):\n"
        "    with env.begin(write=True) as txn:\n"
        "        txn.put(b'key', bytes(3_000 * n))\n"
        "env.close()\n",
    )
    ended = time.monotonic_ns()
    calls = [call for call in disk.read_log() if call.name == "data.mdb"]
    assert [call.kind for call in calls[-3:]] == [Kind.WRITE, Kind.SYNC, Kind.META]
    assert sum(call.kind is Kind.META for call in calls) == 20
    made = bytearray()
    before = begun
    for call in calls:
        assert before <= call.start_ns <= call.end_ns <= ended
        before = call.end_ns
        made.extend(bytes(max(0, call.offset + len(call.data) - len(made))))
        made[call.offset : call.offset + len(call.data)] = call.data
    assert bytes(made) == (data / "data.mdb").read_bytes()


def test_pythons_own_calls_go_the_same_way_and_other_folders_do_not(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir()
    other.mkdir()
    disk = Disk(data, tmp_path / "disk", log=True)
    code = (
        "import os, sys\n"
        "for path in sys.argv[1:]:\n"
        "    fd = os.open(path, os.O_RDWR | os.O_CREAT)\n"
        "    os.write(fd, b'12345'); os.pwrite(fd, b'67', 9); os.fdatasync(fd)\n"
        "    os.fsync(fd); os.ftruncate(fd, 8); os.writev(fd, [b'a', b'bc'])\n"
    )
    files = [str(data / "file"), str(other / "file")]
    subprocess.run(disk.command((*PYTHON, code, *files)), check=True)
    assert [(call.kind.name, call.offset, call.data) for call in disk.read_log()] == [
        ("WRITE", 0, b"12345"),
        ("WRITE", 9, b"67"),
        ("SYNC", 0, b""),
        ("SYNC", 0, b""),
        ("TRUNCATE", 8, b""),
        ("WRITE", 5, b"abc"),
    ]


def test_fault_strikes_the_calls_it_was_made_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    disk = Disk(data, tmp_path / "disk")
    disk.fail(Kind.SYNC, errno.ENOSPC, after=2, times=1, where="fi")
    disk.fail(Kind.WRITE, short_by=2)
    code = (
        "import os\n"
        f"for name in ('other', 'file', 'file', 'file', 'file'):\n"
        f"    fd = os.open({str(data)!r} + '/' + name, os.O_RDWR | os.O_CREAT)\n"
        "    print(os.pwrite(fd, b'12345', 0), end=' ')\n"
        "    try:\n"
        "        os.fsync(fd)\n"
        "    except OSError as error:\n"
        "        print(error.errno, end=' ')\n"
    )
    assert run(disk, code).stdout.split() == [b"3", b"3", b"3", b"3", b"%d" % errno.ENOSPC, b"3"]
    assert disk.calls(Kind.SYNC) == (4, 1)
    assert disk.calls(Kind.WRITE) == (5, 5)


def test_delay_ends_for_a_call_that_waits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    disk = Disk(data, tmp_path / "disk")
    disk.delay(Kind.SYNC, 1e6)
    code = f"import os; os.fsync(os.open({str(data)!r} + '/file', os.O_RDWR | os.O_CREAT))"
    with subprocess.Popen(disk.command((*PYTHON, code))) as process:
        while disk.calls(Kind.SYNC) != (1, 0):
            assert process.poll() is None
            os.sched_yield()
        assert process.poll() is None
        disk.heal()
        assert process.wait(10) == 0


def test_lmdb_is_the_one_that_the_disk_knows() -> None:
    """Its calls were looked up with `nm -D`: another version may sync in other ways."""
    assert lmdb.version() == (0, 9, 36)
