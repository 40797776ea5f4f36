"""fetch-data: write the source named in params as data/raw/{train,test}.parquet."""

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.core.files import replacing
from preference.core.progress import bar
from preference.data.sources import registry
from preference.store.tables import FORMAT, SOURCE, writing

OUT = Path("data/raw")


def main(args: Namespace) -> None:
    data = params.load().data
    name = registry.name(data)
    with replacing(OUT) as directory:
        for split in registry.SPLITS:
            found, batches = registry.raw(data, split)
            file, rows = directory / f"{split}.parquet", 0
            metadata = {SOURCE: name, FORMAT: found.name}
            with (
                writing(file, found.schema.with_metadata(metadata)) as writer,
                bar(f"fetch {split}", None, "rows") as progress,
            ):
                for batch in batches:
                    writer.write_batch(batch)
                    progress.update(batch.num_rows)
                    rows += batch.num_rows
            logging.info("%s: %d rows, format %s", OUT / file.name, rows, found.name)


if __name__ == "__main__":
    stage.run(main, network=lambda args: True)
