"""Where preference data comes from: the embedded demo, files, or the Hub.

Each source is a function that yields the rows of one split as `Batch`es of two text columns.
"""

import glob
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from preference import columns, demo
from preference.errors import InputError, first_line, is_full_disk
from preference.names import leads_out, texts
from preference.params import Data
from preference.pins import require_commit
from preference.tables import RAW, UNREADABLE, require_all

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "test")
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
BATCH_ROWS = 10_000


class Row(NamedTuple):
    chosen: str
    rejected: str


def batches(data: Data, split: str) -> Iterator[pa.RecordBatch]:
    """The rows of one split, `train` or `test`, as record batches of `tables.RAW`.

    Raises:
        InputError: the source does not exist, is not pinned, cannot be reached, or holds a row
            that is not two texts.
    """
    if data.source == "demo":
        return _batched(Row(*texts) for texts in demo.rows(split, data.demo))
    files = find_files(data.source)
    if files is not None:
        return _read_files(_of_split(files, split, data.source))
    assert isinstance(data.source, str)
    commit = require_commit(data.source, data.revision, "params.yaml: data.source", "data.revision")
    return _read_hub(data.source, commit, split)


def name(data: Data) -> str:
    """What metrics say of where the dialogues come from; no path, which would tell of a machine."""
    if data.source == "demo":
        return "demo"
    return "files" if find_files(data.source) is not None else f"{data.source}@{data.revision}"


def find_files(source: str | list[str]) -> list[Path] | None:
    """The files that a path, a pattern or a list of them names, sorted; None for a Hub id."""
    if isinstance(source, str):
        found = _matches(source)
        if not found and _may_be_hub_id(source):
            return None
        return _some(found, source)
    return sorted({path for pattern in source for path in _some(_matches(pattern), pattern)})


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file())
    return sorted(Path(name) for name in glob.glob(str(path), recursive=True))


def _may_be_hub_id(source: str) -> bool:
    is_path = source.startswith((".", "/", "~")) or source.endswith(SUFFIXES)
    return not (is_path or glob.has_magic(source) or Path(source).exists())


def _some(found: list[Path], pattern: str) -> list[Path]:
    if not found:
        raise InputError(
            f"params.yaml: data.source: {pattern!r} names no file; expected a directory with (or a "
            f"pattern for) train and test files ending in {', '.join(SUFFIXES)}"
        )
    return found


def _of_split(files: list[Path], split: str, source: str | list[str]) -> list[Path]:
    word = re.compile(rf"(?<![a-z]){split}(?![a-z])")
    chosen = [path for path in files if word.search(path.name.lower()) or path.parent.name == split]
    if not chosen:
        names = ", ".join(path.name for path in files[:5])
        raise InputError(
            f"params.yaml: data.source: {source!r} has no {split} file; a file belongs to the "
            f"split that its name holds as a word, or its directory is: {split}.jsonl.gz, "
            f"{split}/0.parquet (found: {names})"
        )
    kinds = {next((s for s in SUFFIXES if path.name.endswith(s)), path.suffix) for path in chosen}
    if not kinds <= set(SUFFIXES):
        raise InputError(f"{chosen[0]}: expected a file ending in {', '.join(SUFFIXES)}")
    if len(kinds) > 1:
        raise InputError(
            f"params.yaml: data.source: the {split} split comes as {' and as '.join(sorted(kinds))}"
            " at once, perhaps the same rows twice; name one kind with a pattern such as "
            "path/*.parquet"
        )
    return chosen


def _read_files(files: list[Path]) -> Iterator[pa.RecordBatch]:
    for path in files:
        if path.name.endswith(".parquet"):
            yield from _read_parquet(path)
        else:
            yield from _batched(_read_jsonl(path))


def _read_jsonl(path: Path) -> Iterator[Row]:
    opener = gzip.open if path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse(line, f"{path}, line {number}")
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: cannot be read ({error}); fetch the file again"
        ) from None


def _parse(line: bytes, where: str) -> Row:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 ({error}); mend or remove the line") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits is a ValueError that is no JSONDecodeError.
        raise InputError(f"{where}: not JSON ({error}); mend or remove the line") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected an object with the keys chosen and rejected")
    for name in RAW.names:
        if name not in record:
            raise InputError(
                f"{where}: no column {name!r} (it has {', '.join(sorted(record)) or 'none'}); "
                "each row needs chosen and rejected"
            )
        if not isinstance(record[name], str):
            raise InputError(
                f"{where}: column {name!r} must be text, but is {json.dumps(record[name])[:60]}"
            )
    row = Row(record["chosen"], record["rejected"])
    # Only an escape can spell what UTF-8 cannot.
    if b"\\u" in line and not _is_unicode(row):
        raise InputError(
            f"{where}: holds half of a surrogate pair, which is no character; mend or remove the "
            "line"
        )
    return row


def _read_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns.require_texts(file.schema_arrow, str(path))
            row = 0
            for batch in file.iter_batches(BATCH_ROWS, columns=RAW.names):
                yield columns.checked(batch.select(RAW.names), str(path), row)
                row += batch.num_rows
            require_all(file.metadata, row)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not readable as Parquet ({error}); fetch the file again"
        ) from None


def _read_hub(name: str, commit: str, split: str) -> Iterator[pa.RecordBatch]:
    # Only this source needs the imports, which cost about a second.
    from datasets import load_dataset

    from preference import hub

    where = f"Hub dataset {name} at {commit}, {split}"
    try:
        place = hub.fetch(name, commit, "dataset")
        _require_own_files(place, where)
        # From the files themselves, the library takes the same ones for a split as on the Hub.
        dataset = load_dataset(str(place), split=split)
    except InputError:
        raise
    except Exception as error:
        if is_full_disk(error):
            raise
        # The client raises errors of half a dozen libraries; all others mean the same here.
        raise InputError(
            f"{where}: cannot be fetched ({first_line(error)}). Check the network, data.source and "
            "data.revision; or download the files and set data.source to their directory"
        ) from error
    yield from _read_dataset(dataset, where)


def _require_own_files(place: Path, where: str) -> None:
    """Refuse a dataset whose own configuration sends its readers to files elsewhere."""
    from huggingface_hub import DatasetCard

    # Where the library looks for it, and read as it reads it.
    for file, around in (("README.md", ""), (".huggingface.yaml", "---\n")):
        if not (place / file).is_file():
            continue
        card = DatasetCard(around + (place / file).read_text(encoding="utf-8") + "\n" + around)
        for config in card.data.to_dict().get("configs") or []:
            for name in texts([config.get("data_files"), config.get("data_dir")]):
                if leads_out(name):
                    raise InputError(
                        f"{where}: {file} names files outside of the repository: {name!r}; "
                        "download the files that you trust and set data.source to their directory"
                    )


def _read_dataset(dataset: "Dataset", where: str) -> Iterator[pa.RecordBatch]:
    columns.require_texts(dataset.features.arrow_schema, where)
    row = 0
    for table in dataset.select_columns(RAW.names).with_format("arrow").iter(BATCH_ROWS):
        for batch in table.to_batches():
            yield columns.checked(batch, where, row)
            row += batch.num_rows


def _batched(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    rows = iter(rows)
    while chunk := list(islice(rows, BATCH_ROWS)):
        columns = [pa.array(column, pa.string()) for column in zip(*chunk, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=RAW)


def _is_unicode(row: Row) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True
