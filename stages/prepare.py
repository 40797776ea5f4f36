"""prepare: split, tokenize and cut the first usable pairs into data/prepared/*.parquet."""

import logging
from argparse import Namespace
from pathlib import Path

from preference import command, params, preparation
from preference.files import replacing, write_json
from preference.leakage import Seen

RAW, BASE = Path("data/raw"), Path("models/base")
OUT, METRICS = Path("data/prepared"), Path("results/metrics/prepare.json")


def main(args: Namespace) -> None:
    data = params.load().data
    wanted = {"train": data.train_pairs, "test": data.eval_pairs}
    metrics: dict[str, object] = {}
    train = Seen()
    with replacing(OUT) as directory:
        for split, pairs in wanted.items():
            counts = preparation.prepare(
                RAW / f"{split}.parquet",
                directory / f"{split}.parquet",
                tokenizer_from=BASE,
                max_length=data.max_length,
                pairs=pairs,
                seen=train if split == "train" else None,
                train=None if split == "train" else train,
            )
            logging.info("%s: %s", OUT / f"{split}.parquet", counts.describe())
            if pairs is not None and counts.pairs < pairs:
                logging.warning("%s has fewer pairs than the %d asked for", split, pairs)
            if counts.dialogues_in_train:
                logging.warning(
                    "%d of %d test pairs have a dialogue that the training pairs have, too",
                    counts.dialogues_in_train,
                    counts.pairs,
                )
            metrics[split] = counts.as_dict()
    write_json(METRICS, metrics)


if __name__ == "__main__":
    command.run(main)
