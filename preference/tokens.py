"""Text to token ids, and truncation; whole batches at a time, no loop over tokens."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from preference import checksums
from preference.errors import InputError, first_line
from preference.tables import PREPARED, Ragged
from preference.transcripts import Pair

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
    """Refuse a model whose tokenizer is not the one that the pairs were prepared with."""
    theirs, ours = directory / "tokenizer.json", base / "tokenizer.json"
    if not theirs.exists():
        return
    vocabularies = [read_tokenizer(file).get_vocab() for file in (theirs, ours)]
    if vocabularies[0] != vocabularies[1]:
        raise InputError(
            f"{directory}: its tokenizer is not that of {base}, with which the test pairs were "
            "prepared; set model.base to this model (or its base) and run dvc repro prepare first"
        )


def encode(tokenizer: Tokenizer, texts: list[str]) -> Ragged:
    """Token ids of each text by itself, without special tokens around it."""
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ids = [encoding.ids for encoding in encodings]
    offsets = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in ids], out=offsets[1:])
    values = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(offsets[-1]))
    return Ragged(values, offsets)


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


def prepare(
    tokenizer: Tokenizer,
    eos_id: int,
    max_length: int,
    rows: list[int],
    texts: list[Pair],
) -> tuple[pa.RecordBatch, int]:
    """Tokenize pairs and cut them to `max_length`.

    A response keeps its last `max_length` tokens, EOS included; the prompt keeps the last tokens
    for which there is room, on each side for itself. Pairs in which a response would have no
    token with another before it, which only a tokenizer that drops text can cause, are left out.

    Returns:
        A record batch of `tables.PREPARED`, and how many of its pairs lost tokens.
    """
    prompts, *responses = (encode(tokenizer, list(part)) for part in zip(*texts, strict=True))
    whole = [append(response, eos_id) for response in responses]
    cut = [keep_last(response, max_length) for response in whole]
    kept = [np.minimum(prompts.lengths, max_length - response.lengths) for response in cut]
    columns = [
        pa.array(rows, pa.int64()),
        keep_last(prompts, np.maximum(*kept)).to_arrow(),
        *(response.to_arrow() for response in cut),
        *(pa.array(tokens, pa.int32()) for tokens in kept),
    ]
    scorable = np.logical_and(*(k + c.lengths >= 2 for k, c in zip(kept, cut, strict=True)))
    longest = prompts.lengths + np.maximum(*(response.lengths for response in whole))
    batch = pa.RecordBatch.from_arrays(columns, schema=PREPARED).filter(pa.array(scorable))
    return batch, int(np.count_nonzero((longest > max_length) & scorable))
