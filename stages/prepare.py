"""prepare: split, tokenize and cut the first usable pairs into data/prepared/*.parquet."""

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.core.files import replacing
from preference.data import prepare
from preference.data.leakage import Seen
from preference.store.text import write_json

RAW, BASE = Path("data/raw"), Path("models/base")
OUT, METRICS = Path("data/prepared"), Path("results/metrics/prepare.json")


def main(args: Namespace) -> None:
    data = params.load().data
    wanted = {"train": data.train_pairs, "test": data.eval_pairs}
    metrics: dict[str, object] = {}
    train = Seen()
    with replacing(OUT) as directory:
        for split, limit in wanted.items():
            counts = prepare.prepare(
                RAW / f"{split}.parquet",
                directory / f"{split}.parquet",
                tokenizer_from=BASE,
                max_length=data.max_length,
                wanted=limit,
                seen=train if split == "train" else None,
                train=None if split == "train" else train,
            )
            logging.info("%s: %s", OUT / f"{split}.parquet", counts.describe())
            if limit is not None and counts.examples < limit:
                logging.warning("%s has fewer examples than the %d asked for", split, limit)
            if counts.dialogues_in_train:
                logging.warning(
                    "%d of the %d test examples have a dialogue that the training data have, too",
                    counts.dialogues_in_train,
                    counts.examples,
                )
            metrics[split] = counts.as_dict()
    write_json(METRICS, metrics)


if __name__ == "__main__":
    stage.run(main)
