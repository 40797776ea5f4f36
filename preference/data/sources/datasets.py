"""Preference data from the Hub: the files of a dataset at a pinned commit."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard

from preference.core import hub
from preference.core.errors import InputError, first_line, is_full_disk
from preference.core.paths import leads_out, texts
from preference.data.sources import columns


def read(name: str, commit: str, split: str) -> Iterator[pa.RecordBatch]:
    """The rows of one split as batches of `tables.RAW`.

    Raises:
        InputError: the dataset cannot be fetched, names files outside of itself, or holds a row
            that is not two texts.
    """
    where = f"Hub dataset {name} at {commit}, {split}"
    try:
        place = hub.fetch(name, commit, "dataset")
        _require_own_files(place, where)
        # From the files themselves, the library takes the same ones for a split as on the Hub.
        dataset = load_dataset(str(place), split=split)
    except Exception as error:
        if isinstance(error, InputError) or is_full_disk(error):
            raise
        # The client raises errors of half a dozen libraries; all others mean the same here.
        raise InputError(
            f"{where}: cannot be fetched ({first_line(error)}). Check the network, data.source and "
            "data.revision; or download the files and set data.source to their directory"
        ) from error
    yield from _read_dataset(dataset, where)


def _require_own_files(place: Path, where: str) -> None:
    """Refuse a dataset whose own configuration sends its readers to files elsewhere."""
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


def _read_dataset(dataset: Dataset, where: str) -> Iterator[pa.RecordBatch]:
    tables = dataset.with_format("arrow").iter(columns.BATCH_ROWS)
    batches = (batch for table in tables for batch in table.to_batches())
    return columns.checked(dataset.features.arrow_schema, batches, where)
