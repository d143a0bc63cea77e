"""The spool's folder, read again and again: each time all of it, at the price of what is new."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gateway.intake import spool_database
from gateway.intake.spool_file import SpoolFile, new_row
from gateway.intake.spool_folder import FolderReader, read_folder
from gateway.store.log import Batch
from gateway.store.spooled import SpooledLine, SpooledRow, Tallies, encode_tally, lines_of, tally_of

COUNTS = [[("a", "accepted", 1)], [("a", "accepted", 2), ("b", "ignored", 1)]]


def batch(number: int) -> Batch:
    """One of two kinds."""
    return Batch([], COUNTS[number % 2], [], [])


def append(file: SpoolFile, numbers: Iterable[int]) -> None:
    """Batches of two partitions, by turns."""
    file.append([new_row(number % 2, f"c{number % 2}", number, batch(number), number) for number in numbers])


def whole(lines: list[SpooledLine]) -> list[tuple[int, str, int, dict[str, int], list[tuple[str, str, int]]]]:
    """Every batch that lines tell of, in words of its own."""
    return sorted(
        (line.partition, line.committer, number, line.tallies[kind].events, line.tallies[kind].requests)
        for line in lines
        for number, kind in zip(line.numbers, line.kinds, strict=True)
    )


def test_a_look_reads_what_is_new_and_knows_what_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is read once, all again when some left or were put aside; it knows what a new reader knows."""
    read: list[int] = []

    def watched(rows: Iterable[SpooledRow], *more: object) -> list[SpooledLine]:
        got = list(rows)
        read.append(len(got))
        return lines_of(got, *more)  # type: ignore[arg-type]  # handed on as they came

    reader = FolderReader()
    file = SpoolFile.create(tmp_path / "a.spool")

    def one_for_another() -> None:
        file.remove([8])
        append(file, [14])

    steps: list[tuple[Callable[[], None], int]] = [
        (lambda: append(file, range(1, 11)), 10),
        (lambda: None, 0),
        (lambda: append(file, range(11, 14)), 3),
        (lambda: file.remove([1, 2]), 11),  # in order, as the drainer does
        (lambda: file.remove([6]), 10),  # one partition goes on while another cannot
        (one_for_another, 10),
        (lambda: file.put_aside(5, "the store does not take it"), 10),
        (lambda: append(file, [15]), 1),
        (lambda: file.remove(range(16)), 0),
        (lambda: append(file, [16]), 1),
    ]
    for step, wanted in steps:
        step()
        with monkeypatch.context() as patched:
            patched.setattr(spool_database, "lines_of", watched)
            view = reader.read(tmp_path)
        assert read.pop() == wanted
        fresh = read_folder(tmp_path)
        assert whole(view.lines) == whole(fresh.lines)
        assert view.held == fresh.held
        assert sum(len(each.numbers) for each in view.lines) == view.held.rows + view.held.aside
    file.close(remove=True)
    assert reader.read(tmp_path).lines == []


def test_a_file_that_went_is_not_remembered(tmp_path: Path) -> None:
    """Else what is known of files would grow with every process that ever had one."""
    seen: dict[Path, spool_database.Seen] = {}
    for name in ("a", "b"):
        file = SpoolFile.create(tmp_path / f"{name}.spool")
        append(file, [1])
        read_folder(tmp_path, seen=seen)
        assert list(seen) == [file.path]
        file.close(remove=True)


def test_what_many_batches_bring_alike_is_kept_once(tmp_path: Path) -> None:
    """Many batches that count alike need two numbers each and no object; the counts are of all of them."""
    file = SpoolFile.create(tmp_path / "a.spool")
    append(file, range(1, 401))
    file.close()
    even, odd = sorted(FolderReader().read(tmp_path).lines, key=lambda line: line.partition)
    assert even.tallies is odd.tallies
    assert len(even.tallies) == 2
    assert (even.numbers.itemsize, even.kinds.itemsize) == (8, 4)
    assert list(odd.beyond(300)) == [({}, COUNTS[1], 50)]
    assert list(even.beyond(400)) == []


def test_a_number_that_comes_again_brings_nothing() -> None:
    """A disk that failed when it was done keeps a batch that its committer then repeats: the store takes it once."""
    rows = [(0, "c", number, encode_tally(tally_of(batch(number)))) for number in (1, 2, 2, 1, 3)]
    [line] = lines_of(rows, Tallies())
    assert list(line.numbers) == [1, 2, 3]


def test_what_a_look_has_found_does_not_change_with_the_next_one() -> None:
    """Somebody may be counting by it: another thread, or the account while the folder is looked at again."""
    tallies = Tallies()
    rows = [(0, "c", number, encode_tally(tally_of(batch(number)))) for number in (1, 2, 3)]
    first = lines_of(rows[:1], tallies)
    before = whole(first)
    assert len(whole(lines_of(rows[1:], tallies, first))) == 3
    assert whole(first) == before


def test_a_batch_that_was_put_aside_and_taken_again_between_two_looks_is_known(tmp_path: Path) -> None:
    """As many rows as before and none aside, but one under another committer: by the old one it would count twice."""
    file = SpoolFile.create(tmp_path / "a.spool")
    append(file, [1, 2, 3])
    reader = FolderReader()
    reader.read(tmp_path)
    file.put_aside(2, "the store does not take it")
    file.close()
    again = SpoolFile.adopt(file.path)
    assert again is not None
    again.close()
    assert "c0-2" in {line.committer for line in reader.read(tmp_path).lines}
    assert whole(reader.read(tmp_path).lines) == whole(read_folder(tmp_path).lines)


def test_another_file_of_the_same_name_is_read_anew(tmp_path: Path) -> None:
    """One that was brought back from a backup, say; it has as many rows."""
    reader = FolderReader()
    for numbers in ([1, 2], [3, 4], [5, 6, 7]):
        file = SpoolFile.create(tmp_path / "a.spool")
        append(file, numbers)
        file.close(remove=False)
        assert [number for _, _, number, *_ in sorted(whole(reader.read(tmp_path).lines), key=lambda row: row[2])] == (
            numbers
        )
        for path in tmp_path.iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("damage", "known", "why", "finding"),
    [
        ("tally = x'c1'", 3, "", "its tally cannot be read"),
        ("tally = 'text'", 3, "", "its tally cannot be read"),
        ("tally = x'c1', crc = 1", 2, "1 of its batches count for nothing", "its tally cannot be read"),
        ("number = 'none'", 0, "a row of it is damaged", ""),
    ],
)
def test_a_damaged_row_takes_no_other_figures_away(
    tmp_path: Path, damage: str, known: int, why: str, finding: str
) -> None:
    """Its payload is counted instead; if that is damaged too it counts for nothing, and the file is named."""
    for name in ("a", "b"):
        file = SpoolFile.create(tmp_path / f"{name}.spool")
        append(file, [1, 3])
        if name == "a":
            file._database.execute(f"UPDATE batches SET {damage} WHERE id = 2")
            append(file, [5])
        file.close()
    reader = FolderReader()
    for _ in range(2):  # what was seen then is known at the next look
        view = reader.read(tmp_path)
        assert sum(times for line in view.lines for _, counts, times in line.beyond(0) if counts) == known + 2
        assert list(view.unreadable) == (["a.spool"] if why else [])
        assert why in view.unreadable.get("a.spool", "")
    really = read_folder(tmp_path, recount=True)
    assert any(finding in each for each in really.findings) is bool(finding)
    assert sum(times for line in really.lines for _, counts, times in line.beyond(0) if counts) == known + 2
    assert really.unaccounted == 0
