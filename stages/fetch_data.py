"""fetch-data: write the source named in params as data/raw/{train,test}.parquet."""

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.core.errors import InputError
from preference.core.files import replacing
from preference.core.progress import bar
from preference.data.sources import registry
from preference.store.tables import RAW, SOURCE, writing

OUT = Path("data/raw")


def main(args: Namespace) -> None:
    data = params.load().data
    schema = RAW.with_metadata({SOURCE: registry.name(data)})
    with replacing(OUT) as directory:
        for split in registry.SPLITS:
            rows = 0
            with (
                writing(directory / f"{split}.parquet", schema) as writer,
                bar(f"fetch {split}", None, "rows") as progress,
            ):
                for batch in registry.batches(data, split):
                    writer.write_batch(batch)
                    progress.update(batch.num_rows)
                    rows += batch.num_rows
            if not rows:
                raise InputError(f"params.yaml: data.source: {data.source!r}: {split} has no rows")
            logging.info("%s: %d rows", OUT / f"{split}.parquet", rows)


if __name__ == "__main__":
    stage.run(main, network=lambda args: True)
