"""prepare: split, tokenize and cut the first usable pairs into data/prepared/*.parquet."""

import logging
from argparse import Namespace
from pathlib import Path

from preference.core import params, stage
from preference.core.files import replacing
from preference.data import splits, tokens
from preference.data.encoding import Encoder
from preference.data.leakage import Seen
from preference.data.prepare import RawTable, prepare, require_one_template
from preference.store.text import write_json

RAW, BASE = Path("data/raw"), Path("models/base")
OUT, METRICS = Path("data/prepared"), Path("results/metrics/prepare.json")


def main(args: Namespace) -> None:
    settings = params.load()
    data = settings.data
    wanted = {"train": data.train_pairs, "test": data.eval_pairs}
    if data.validation_pairs:
        wanted["validation"] = data.validation_pairs
    loaded, metrics, train = tokens.load(BASE), {}, Seen()
    tables = {split: RawTable(RAW / f"{split}.parquet", data) for split in ("train", "test")}
    own = require_one_template(tables.values(), data)
    judges = splits.judges(tables["train"], tables["test"], data)
    with replacing(OUT) as directory:
        for split, limit in wanted.items():
            counts = prepare(
                tables["test" if split == "test" else "train"],
                directory / f"{split}.parquet",
                Encoder(loaded, data, own, all_turns=settings.sft.turns == "all"),
                wanted=limit,
                seen=train if split == "train" else Seen(),
                train=None if split == "train" else train,
                judge=judges[split],
            )
            logging.info("%s: %s", OUT / f"{split}.parquet", counts.describe())
            for warning in counts.warnings(limit):
                logging.warning("%s: %s", OUT / f"{split}.parquet", warning)
            metrics[split] = counts.as_dict()
    write_json(METRICS, metrics)


if __name__ == "__main__":
    stage.run(main)
