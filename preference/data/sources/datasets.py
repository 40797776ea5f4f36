"""Preference data from the Hub: the files of a dataset at a pinned commit."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from datasets import (
    Dataset,
    get_dataset_config_names,
    get_dataset_split_names,
    load_dataset,
)
from huggingface_hub import DatasetCard

from preference.core import hub
from preference.core.errors import InputError, first_line, is_full_disk
from preference.core.paths import leads_out, texts
from preference.data.sources import arrow
from preference.data.sources.arrow import BATCH_ROWS, Row


def read(name: str, commit: str, configuration: str | None, split: str) -> Iterator[Row]:
    """The rows of one split.

    Raises:
        InputError: the dataset cannot be fetched, names files outside of itself, or has no such
            configuration or split.
    """
    where = f"Hub dataset {name} at {commit}, {split}"
    try:
        place = str(hub.fetch(name, commit, "dataset"))
        _require_own_files(Path(place), where)
        known = get_dataset_config_names(place)
        if (configuration or "default") not in known and (configuration or len(known) > 1):
            raise InputError(
                f"{where}: data.name {configuration!r} is none of its configurations: "
                f"{', '.join(known)}"
            )
        splits = get_dataset_split_names(place, configuration)
        if split not in splits:
            raise InputError(
                f"{where}: has the splits {', '.join(splits)}; set data.splits, for instance "
                f"{{train: {splits[0]}, test: {splits[-1]}}}"
            )
        # From the files themselves, the library takes the same ones for a split as on the Hub.
        dataset = load_dataset(place, configuration, split=split)
    except Exception as error:
        if isinstance(error, InputError) or is_full_disk(error):
            raise
        # The client raises errors of half a dozen libraries; all others mean the same here.
        raise InputError(
            f"{where}: cannot be fetched ({first_line(error)}). Check the network, data.source and "
            "data.revision; or download the files and set data.source to their directory"
        ) from error
    yield from arrow.rows(_batches(dataset), where)


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


def _batches(dataset: Dataset) -> Iterator[pa.RecordBatch]:
    for table in dataset.with_format("arrow").iter(BATCH_ROWS):
        yield from table.to_batches()
