"""Text to token ids, and truncation; whole batches at a time, no loop over tokens."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from preference.core.errors import InputError, first_line
from preference.data.formats.example import Example
from preference.store import checksums
from preference.store.examples import Ragged
from preference.store.tables import PREPARED, lists

FILES = ("tokenizer.json", "tokenizer_config.json")


def load(directory: Path) -> tuple[Tokenizer, int]:
    """The fast tokenizer saved in a model directory, and its end-of-sequence id.

    It is read without transformers, whose import costs more than tokenizing the default.
    """
    path, config = (directory / name for name in FILES)
    if not path.exists():
        raise InputError(
            f"{path}: no such file; run dvc repro, or copy there the tokenizer of the model's base"
        )
    checksums.require_undamaged(directory, FILES)
    tokenizer = read_tokenizer(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{config}: cannot be read ({error}); run dvc repro") from None
    eos = settings.get("eos_token")
    eos = eos.get("content") if isinstance(eos, dict) else eos
    eos_id = None if eos is None else tokenizer.token_to_id(eos)
    if eos_id is None:
        raise InputError(
            f"{config}: eos_token {eos!r} is not in the vocabulary; "
            "every response ends with it, so set it to a token that the tokenizer has"
        )
    return tokenizer, eos_id


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises no narrower class.
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from None


def require_same_tokenizer(directory: Path, base: Path) -> None:
    """Refuse a model whose tokenizer is not the one that the pairs were prepared with.

    Tokens that were added to it since, as one for padding, stand in no pair.
    """
    theirs, ours = directory / "tokenizer.json", base / "tokenizer.json"
    if not theirs.exists():
        return
    its, prepared = (read_tokenizer(file) for file in (theirs, ours))
    known = prepared.get_vocab()
    added = {token.content for token in its.get_added_tokens_decoder().values()} - known.keys()
    if {token: i for token, i in its.get_vocab().items() if token not in added} != known:
        raise InputError(
            f"{directory}: its tokenizer is not that of {base}, with which the test pairs were "
            "prepared; set model.base to this model (or its base) and run dvc repro prepare first"
        )


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Ragged:
    """Token ids of each text by itself, without special tokens around it."""
    ids = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    values = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths.sum()))
    return Ragged.of(values, lengths)


def append(rows: Ragged, token: int) -> Ragged:
    """Put one more token at the end of every row."""
    values = np.insert(rows.values, rows.offsets[1:], token)
    return Ragged(values, rows.offsets + np.arange(len(rows.offsets)))


def keep_last(rows: Ragged, limits: np.ndarray | int) -> Ragged:
    """Cut each row to its last `limits` tokens (one limit a row, or one for all)."""
    lengths = np.minimum(rows.lengths, limits)
    offsets = np.append(0, np.cumsum(lengths))
    starts = rows.offsets[1:] - lengths
    index = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Ragged(rows.values[index], offsets)


class Prepared(NamedTuple):
    """Examples as ids.

    Attributes:
        batch: of `tables.PREPARED`.
        dropped: (examples,) booleans; which of those given are not in it.
        lengths: (responses,); tokens of each that is, its whole prompt included, before the cut.
    """

    batch: pa.RecordBatch
    dropped: np.ndarray
    lengths: np.ndarray


def prepare(
    tokenizer: Tokenizer, eos_id: int, max_length: int, rows: list[int], examples: list[Example]
) -> Prepared:
    """Tokenize examples and cut them to `max_length`.

    A response keeps its last `max_length` tokens, EOS included; the prompt keeps the last tokens
    for which there is room, for each response by itself. Examples in which a response would have
    no token with another before it, which only a tokenizer that drops text can cause, are left out.
    """
    counts = np.array([len(example.responses) for example in examples])
    prompt_of = np.repeat(np.arange(len(examples)), counts)
    prompts = encode(tokenizer, [example.prompt for example in examples])
    texts = [response for example in examples for response in example.responses]
    whole = append(encode(tokenizer, texts), eos_id)
    cut = keep_last(whole, max_length)
    kept = np.minimum(prompts.lengths[prompt_of], max_length - cut.lengths)
    starts = np.cumsum(counts) - counts
    scorable = np.logical_and.reduceat(kept + cut.lengths >= 2, starts)
    columns = {
        "row": rows,
        "labels": [e.labels or [None] * len(e.responses) for e in examples],
        "weights": [e.weights or [None] * len(e.responses) for e in examples],
        "chosen": [[chosen for chosen, _ in e.pairs] for e in examples],
        "rejected": [[rejected for _, rejected in e.pairs] for e in examples],
        "prompt_ids": _ids(keep_last(prompts, np.maximum.reduceat(kept, starts))),
        "response_ids": lists(_ids(cut), counts),
        "prompt_tokens": lists(pa.array(kept, pa.int32()), counts),
        "prompt": [e.prompt for e in examples],
        "turns": [[turn._asdict() for turn in e.turns] for e in examples],
        "responses": [e.responses for e in examples],
    }
    batch = pa.RecordBatch.from_pydict(columns, schema=PREPARED).filter(pa.array(scorable))
    lengths = (prompts.lengths[prompt_of] + whole.lengths)[scorable[prompt_of]]
    return Prepared(batch, ~scorable, lengths)


def _ids(rows: Ragged) -> pa.ListArray:
    return lists(pa.array(rows.values), rows.lengths)
