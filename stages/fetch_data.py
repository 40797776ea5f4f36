"""fetch-data: write the source named in params as data/raw/{train,test}.parquet."""

import logging
from argparse import Namespace
from pathlib import Path

from preference import command, params, sources
from preference.errors import InputError
from preference.files import replacing
from preference.progress import bar
from preference.tables import RAW, SOURCE, writing

OUT = Path("data/raw")


def main(args: Namespace) -> None:
    data = params.load().data
    schema = RAW.with_metadata({SOURCE: sources.name(data)})
    with replacing(OUT) as directory:
        for split in sources.SPLITS:
            rows = 0
            with (
                writing(directory / f"{split}.parquet", schema) as writer,
                bar(f"fetch {split}", None, "rows") as progress,
            ):
                for batch in sources.batches(data, split):
                    writer.write_batch(batch)
                    progress.update(batch.num_rows)
                    rows += batch.num_rows
            if not rows:
                raise InputError(f"params.yaml: data.source: {data.source!r}: {split} has no rows")
            logging.info("%s: %d rows", OUT / f"{split}.parquet", rows)


if __name__ == "__main__":
    command.run(main, network=command.always)
