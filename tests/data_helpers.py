"""What several tests of the data stages need: params, raw tables, a tokenizer, a stage's run."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from ruamel.yaml import YAML
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from preference.core import params
from preference.core.data_params import Data
from preference.core.errors import InputError
from preference.data import tokens
from preference.data.encoding import Encoder
from preference.data.formats.example import Example, Turn
from preference.data.leakage import Seen
from preference.data.prepare import RawTable, prepare
from preference.data.sources import registry
from preference.store import examples
from preference.store.examples import Examples
from preference.store.tables import FORMAT, RAW, writing

ROOT = Path(__file__).resolve().parent.parent
EOS = "<|endoftext|>"
Rows = list[tuple[str, str]]

# For properties: that a busy machine is slow is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

OPTIMIZATION = {
    "epochs": 1,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "grad_accum_steps": 2,
    "weight_decay": 0.01,
    "warmup_ratio": 0.06,
    "max_grad_norm": 1.0,
    "dropout": False,
}
PARAMS: dict[str, Any] = {
    "seed": 42,
    "data": {
        "source": "demo",
        "revision": None,
        "name": None,
        "splits": {},
        "format": "auto",
        "columns": {},
        "rankings": {},
        "train_pairs": 8,
        "validation_pairs": None,
        "eval_pairs": 4,
        "decontaminate": "none",
        "template": "auto",
        "bos": "auto",
        "special_tokens": "text",
        "max_length": 64,
        "truncation": "start",
        "demo": {},
    },
    "model": {"base": "scratch", "revision": None},
    "scoring": {"length_normalize": True},
    "sft": {**OPTIMIZATION, "turns": "last"},
    "reference": {"train": "responses"},
    "train": {
        **OPTIMIZATION,
        "objective": "dpo",
        "beta": 0.1,
        "label_noise": 0.0,
        "evaluate": "test",
        "options": {},
        "kto": {"target_kl": 0.0},
    },
    "precision": "fp32",
    "samples": {"prompts": 3, "max_new_tokens": 8, "kl_prompts": 3},
    "report": {"decimals": 4, "published": None},
}


def example(prompt: str, chosen: str, rejected: str) -> Example:
    """Two responses, the first one chosen."""
    return Example((Turn("user", prompt),), (chosen, rejected), prompt, ((0, 1),))


def data(**changes: object) -> Data:
    """Valid params of the data, with some set to other values."""
    return Data.model_validate(PARAMS["data"] | changes)


def write_params(
    path: Path, changes: dict[str, object] | None = None, *, without: str | None = None
) -> Path:
    """Write valid params to a file, with some dotted keys set to other values, or one left out."""
    values = copy.deepcopy(PARAMS)
    for key, value in (changes or {}).items():
        group, name = _group(values, key)
        group[name] = value
    if without:
        group, name = _group(values, without)
        del group[name]
    YAML(typ="safe", pure=True).dump(values, path)
    return path


def refused_params(path: Path) -> str:
    """What is said of a params file that is refused, which names the file."""
    with pytest.raises(InputError) as caught:
        params.load(path)
    message = str(caught.value)
    assert path.name in message
    return message


def refused_value(tmp_path: Path, key: str, value: object) -> str:
    """What is said of valid params with one value more or another."""
    return refused_params(write_params(tmp_path / "params.yaml", {key: value}))


def _group(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *groups, name = key.split(".")
    for part in groups:
        values = values.setdefault(part, {})
    return values, name


def write_raw(path: Path, rows: Rows) -> Path:
    """Write dialogues as a table of `tables.RAW`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [[row[side] for row in rows] for side in (0, 1)]
    pq.write_table(pa.table(columns, schema=RAW), path)
    return path


def prepared(
    rows: list[dict[str, Any]], directory: Path, *, all_turns: bool = False, **settings: Any
) -> Examples:
    """Fetch rows that a file has and prepare them, with the tokenizer in `base`."""
    source = directory / "own" / "train.jsonl"
    source.parent.mkdir(exist_ok=True)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"source": str(source.parent), "train_pairs": None, "max_length": 10_000, **settings}
    data = Data.model_validate(PARAMS["data"] | changes)
    return prepared_data(data, directory, all_turns=all_turns)


def prepared_data(data: Data, directory: Path, *, all_turns: bool = False) -> Examples:
    """Fetch and prepare the training split of a source, with the tokenizer in `base`."""
    found, batches = registry.raw(data, "train")
    raw, out = directory / "raw.parquet", directory / "prepared.parquet"
    with writing(raw, found.schema.with_metadata({FORMAT: found.name})) as writer:
        for batch in batches:
            writer.write_batch(batch)
    table = RawTable(raw, data)
    encoder = Encoder(tokens.load(directory / "base"), data, table.template, all_turns=all_turns)
    prepare(table, out, encoder, wanted=None, seen=Seen())
    return examples.read(out)


def write_tokenizer(directory: Path, **settings: str) -> Path:
    """Save a small byte-level BPE tokenizer that has no pad token and starts texts with EOS.

    Args:
        settings: the tokenizer's special tokens by name, as in `eos_token`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = ["\n\nHuman: where is the market?", "\n\nAssistant: the market is there, at the gate."]
    tokenizer.train_from_iterator(corpus, trainer)
    # So that a test sees it where special tokens are added.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{EOS} $A", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(directory)
    return directory


def run_stage(name: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a stage in a directory with its own params and data."""
    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
