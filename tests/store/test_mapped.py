"""Mapped copies of tables: what they hold, who makes them, and which of them are never taken."""

import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import pytest

from preference.core.errors import InputError
from preference.store import checksums, mapped
from preference.store.mapped import Arrays

PARTS: list[Arrays] = [
    {"ids": np.zeros(0, "i4"), "pairs": np.zeros((0, 2), int)},
    {"ids": np.arange(5, dtype="i4"), "pairs": np.array([[1, 0]])},
    {"ids": np.array([9, 8], "i4"), "pairs": np.array([[3, 2], [5, 4]]), "late": np.array([0.5])},
]
EXPECTED = {"ids": [0, 1, 2, 3, 4, 9, 8], "pairs": [[1, 0], [3, 2], [5, 4]], "late": [0.5]}


@pytest.fixture(autouse=True)
def copies(copies_elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they lie."""
    place = tmp_path / "mapped"
    monkeypatch.setattr(mapped, "ROOT", place)
    return place


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "prepared/train.parquet"
    file.parent.mkdir()
    file.write_text("one")
    return file


def parts(path: Path) -> Iterator[Arrays]:
    yield from PARTS


def never(path: Path) -> Iterator[Arrays]:
    raise AssertionError("made again")


def of_text(path: Path) -> Iterator[Arrays]:
    yield {"bytes": np.frombuffer(path.read_bytes(), np.uint8)}


def as_lists(found: Arrays) -> dict[str, list[object]]:
    return {name: values.tolist() for name, values in found.items()}


def made(copies: Path) -> list[str]:
    """Names of what there is, the lock left out."""
    return sorted(place.name for place in copies.iterdir() if place.name != ".lock")


def test_parts_are_joined_and_the_second_time_found(table: Path, copies: Path) -> None:
    for give in (parts, never):
        found = mapped.arrays(table, give)
        assert as_lists(found) == EXPECTED
        assert found["ids"].dtype == np.int32
        assert not any(values.flags.writeable for values in found.values())
    (name,) = made(copies)
    assert name[:-16] == "prepared-train-"


def test_arrays_without_rows_keep_their_form(table: Path) -> None:
    for give in (lambda path: iter(PARTS[:1]), never):
        found = mapped.arrays(table, give)
        assert {name: values.shape for name, values in found.items()} == {
            "ids": (0,),
            "pairs": (0, 2),
        }


def test_they_are_mapped_from_the_copy_and_take_no_memory_of_their_own(
    table: Path, copies: Path
) -> None:
    values = mapped.arrays(table, lambda path: iter([{"ids": np.zeros(10**6)}]))["ids"]
    (place,) = copies.glob("[!.]*")
    lines = [x for x in Path("/proc/self/maps").read_text().splitlines() if str(place) in x]
    ((start, end, rights),) = [(*line.split()[0].split("-"), line.split()[1]) for line in lines]
    assert int(start, 16) <= values.ctypes.data < int(end, 16)
    assert rights == "r--s"


def spoil(name: str, how: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoiled(place: Path) -> None:
        (place / name).write_bytes(how((place / name).read_bytes()))

    return spoiled


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of the values": spoil("ids.npy", lambda whole: whole[:-1] + bytes([whole[-1] ^ 1])),
    "a bit of the shape": spoil("ids.npy", lambda whole: whole.replace(b"(7,)", b"(6,)")),
    "the end is lost": spoil("pairs.npy", lambda whole: whole[:-8]),
    "zeros, as a crash leaves them": spoil("pairs.npy", lambda whole: bytes(len(whole))),
    "nothing is left": spoil("late.npy", lambda whole: b""),
    "a file is lost": lambda place: (place / "late.npy").unlink(),
    "one too many": lambda place: (place / "more.npy").touch(),
    "the record is damaged": spoil(checksums.NAME, lambda whole: whole[: len(whole) // 2]),
    "the record is lost": lambda place: (place / checksums.NAME).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_made_anew(
    damage: str, table: Path, copies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapped.arrays(table, parts)
    (place,) = copies.glob("[!.]*")
    DAMAGES[damage](place)
    with caplog.at_level(logging.WARNING):
        assert as_lists(mapped.arrays(table, parts)) == EXPECTED
    assert f"{place} is damaged, and made anew" in caplog.text
    assert as_lists(mapped.arrays(table, never)) == EXPECTED


def test_what_is_never_read_as_it_was_written_is_an_error(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "differing", lambda place: ["ids.npy"])
    with pytest.raises(InputError, match="is never what was written there; check the disk"):
        mapped.arrays(table, parts)


def test_a_table_that_changes_has_a_new_copy_in_place_of_the_old_one(
    table: Path, copies: Path
) -> None:
    other = table.parent / "test.parquet"
    other.write_text("one")
    assert bytes(mapped.arrays(other, of_text)["bytes"]) == b"one"
    old = mapped.arrays(table, of_text)["bytes"]
    kept = made(copies)
    before = table.stat()
    table.write_text("two")
    # Not even where nothing but its content tells.
    os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert bytes(mapped.arrays(table, of_text)["bytes"]) == b"two"
    assert len(made(copies)) == 2
    assert len(set(kept) & set(made(copies))) == 1
    # What has it mapped already keeps it.
    assert bytes(old) == b"one"


def test_a_table_that_changes_while_it_is_read_is_read_again(table: Path, copies: Path) -> None:
    def slowly(path: Path) -> Iterator[Arrays]:
        if path.read_text() == "one":
            path.with_name("new").write_text("two")
            path.with_name("new").rename(path)
        yield from of_text(path)

    assert bytes(mapped.arrays(table, slowly)["bytes"]) == b"two"
    (name,) = made(copies)
    table.write_text("one")
    assert bytes(mapped.arrays(table, of_text)["bytes"]) == b"one"
    assert name not in made(copies)


def test_other_code_makes_another_copy(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped.arrays(table, parts)
    code = shutil.copytree(Path(mapped.__file__).parent, tmp_path / "code")
    monkeypatch.setattr(mapped, "__file__", str(code / "mapped.py"))
    assert as_lists(mapped.arrays(table, never)) == EXPECTED
    with (code / "index.py").open("a") as file:
        file.write("# Otherwise.\n")
    assert as_lists(mapped.arrays(table, lambda path: iter(PARTS[:1]))) != EXPECTED


def test_another_hosts_copy_is_taken_and_stays(table: Path, copies: Path, tmp_path: Path) -> None:
    mapped.arrays(table, parts)
    (place,) = copies.glob("[!.]*")
    theirs = place.rename(tmp_path / "theirs")

    def overtaken(path: Path) -> Iterator[Arrays]:
        yield from PARTS
        theirs.rename(place)

    inode = theirs.stat().st_ino
    assert as_lists(mapped.arrays(table, overtaken)) == EXPECTED
    assert place.stat().st_ino == inode
    assert made(copies) == [place.name]


def in_processes(count: int, work: Callable[[], object]) -> list[ForkProcess]:
    started = [multiprocessing.get_context("fork").Process(target=work) for _ in range(count)]
    for process in started:
        process.start()
    return started


def test_of_several_processes_one_makes_the_copy_and_all_have_it(
    table: Path, copies: Path, tmp_path: Path
) -> None:
    def slowly(path: Path) -> Iterator[Arrays]:
        with (tmp_path / "makers").open("a") as makers:
            makers.write(f"{os.getpid()}\n")
        for part in PARTS:
            time.sleep(0.2)
            yield part

    def work() -> None:
        assert as_lists(mapped.arrays(table, slowly)) == EXPECTED
        (place,) = copies.glob("[!.]*")
        (tmp_path / f"found-{os.getpid()}").write_text(str((place / "ids.npy").stat().st_ino))

    started = in_processes(3, work)
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0, 0]
    assert len((tmp_path / "makers").read_text().split()) == 1
    assert len({file.read_text() for file in tmp_path.glob("found-*")}) == 1


def test_killed_while_it_is_written_nothing_is_taken_for_a_copy(
    table: Path, copies: Path, tmp_path: Path
) -> None:
    def hangs(path: Path) -> Iterator[Arrays]:
        yield from PARTS
        (tmp_path / "written").touch()
        time.sleep(600)

    (process,) = in_processes(1, lambda: mapped.arrays(table, hangs))
    while not (tmp_path / "written").exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (left,) = made(copies)
    assert left.startswith(".")
    assert (copies / left / "ids.npy").exists()
    assert as_lists(mapped.arrays(table, parts)) == EXPECTED
    # The lock is free, and what was left is gone.
    (name,) = made(copies)
    assert not name.startswith(".")


def test_an_error_in_a_table_leaves_nothing(table: Path, copies: Path) -> None:
    def damaged(path: Path) -> Iterator[Arrays]:
        yield from PARTS
        raise InputError("damaged")

    with pytest.raises(InputError, match="damaged"):
        mapped.arrays(table, damaged)
    assert made(copies) == []
    with pytest.raises(InputError, match="no such file; run the stage that makes it"):
        mapped.arrays(table.with_name("none.parquet"), never)


def test_a_place_that_cannot_be_written_to_is_an_error(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(mapped, "ROOT", tmp_path / "file/mapped")
    with pytest.raises(
        InputError, match=r"mapped/prepared-train-.* cannot be kept there .*Not a d"
    ):
        mapped.arrays(table, parts)


def test_a_full_disk_is_an_error_and_leaves_nothing(
    table: Path, full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "ROOT", full_disk)
    large = {"ids": np.zeros(2**20)}
    with pytest.raises(InputError, match=r"No space left on device.*make room for as much"):
        mapped.arrays(table, lambda path: iter([large, large]))
    assert made(full_disk) == []
    assert as_lists(mapped.arrays(table, parts)) == EXPECTED
