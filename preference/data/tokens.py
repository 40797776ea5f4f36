"""Text to token ids, whole batches at a time."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import AddedToken, Tokenizer

from preference.core.errors import InputError, first_line
from preference.store import checksums
from preference.store.examples import Ragged

FILES = ("tokenizer.json", "tokenizer_config.json")
LAST_SIGN = 0x10FFFD  # of the characters for private use, the first of which some data have


class Loaded(NamedTuple):
    """A saved tokenizer.

    Attributes:
        eos_id: end of sequence.
        special: its special tokens by name, as a chat template may write them.
        chat_template: in Jinja; None where it has none.
    """

    tokenizer: Tokenizer
    eos_id: int
    special: dict[str, str]
    chat_template: str | None


def load(directory: Path) -> Loaded:
    """The fast tokenizer saved in a model directory.

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
    named = {key: _content(value) for key, value in settings.items() if key.endswith("_token")}
    special = {key: value for key, value in named.items() if isinstance(value, str)}
    eos = special.get("eos_token")
    eos_id = None if eos is None else tokenizer.token_to_id(eos)
    if eos_id is None:
        raise InputError(
            f"{config}: eos_token {eos!r} is not in the vocabulary; "
            "every response ends with it, so set it to a token that the tokenizer has"
        )
    return Loaded(tokenizer, eos_id, special, _chat_template(directory, settings))


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _chat_template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    """The template in its own file, else in the settings; of several the one for every use."""
    file = directory / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {one["name"]: one["template"] for one in found}.get("default")
    return found


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


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Ragged:
    """Token ids of each text by itself, without special tokens around it."""
    return ragged([e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)])


def ragged(ids: Sequence[Sequence[int]]) -> Ragged:
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    values = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths.sum()))
    return Ragged.of(values, lengths)


def append(rows: Ragged, token: int) -> Ragged:
    """Put one more token at the end of every row."""
    values = np.insert(rows.values, rows.offsets[1:], token)
    return Ragged(values, rows.offsets + np.arange(len(rows.offsets)))


def bos(tokenizer: Tokenizer) -> list[int]:
    """What the tokenizer itself puts before a text."""
    bare, whole = (tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
    places = [i for i in range(len(whole)) if whole[i : i + len(bare)] == bare]
    return whole[: places[0]] if places else []


class Spelt:
    """Special tokens that data spell: they stay text, where a tokenizer would read them as such.

    Before the text is laid out, each is replaced by a sign for private use that a copy of the
    tokenizer knows as a token of its own; what stands for the sign among the ids, then, are the ids
    of the text.

    Args:
        keep: leave them to the tokenizer: nothing is hidden.
    """

    def __init__(self, tokenizer: Tokenizer, *, keep: bool = False) -> None:
        added = tokenizer.get_added_tokens_decoder().values()
        special = [token.content for token in added if token.special and not keep]
        self._signs = {token: chr(LAST_SIGN - i) for i, token in enumerate(special)}
        self._tokens = {sign: token for token, sign in self._signs.items()}
        longest_first = sorted(special, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._sign = re.compile("|".join(self._tokens) or r"(?!)")
        self._tokenizer = tokenizer

    def hidden(self, text: str) -> tuple[str, int]:
        """The text with signs in the place of special tokens, and how many there were.

        Raises:
            InputError: it holds a sign itself.
        """
        if found := self._sign.search(text):
            raise InputError(
                f"has the character U+{ord(found[0]):X}, which stands for a special token here; "
                "remove it, or set data.special_tokens: keep"
            )
        return self._pattern.subn(lambda found: self._signs[found[0]], text)

    def shown(self, text: str) -> str:
        """The text as it was before it was `hidden`."""
        return self._sign.sub(lambda found: self._tokens[found[0]], text)

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Token ids of hidden texts."""
        if not any(map(self._sign.search, texts)):
            return encode(self._tokenizer, texts)
        found, (copy, pieces) = [], self._knowing
        for encoded in copy.encode_batch_fast(texts, add_special_tokens=False):
            found.append([i for id_ in encoded.ids for i in pieces.get(id_, (id_,))])
        return ragged(found)

    @cached_property
    def _knowing(self) -> tuple[Tokenizer, dict[int, list[int]]]:
        """A copy of the tokenizer that knows the signs, and the ids of the text for each."""
        copy, literal = (Tokenizer.from_str(self._tokenizer.to_str()) for _ in range(2))
        signs = [AddedToken(sign, normalized=False) for sign in self._signs.values()]
        copy.add_special_tokens(signs)
        literal.encode_special_tokens = True
        # Behind a letter: some tokenizers put a space before a text's beginning.
        (letter,), *spelt = (
            [literal.encode(text, add_special_tokens=False).ids]
            for text in ("a", *(f"a{token}" for token in self._signs))
        )
        ids = map(copy.token_to_id, self._signs.values())
        return copy, {i: p[len(letter) :] for i, (p,) in zip(ids, spelt, strict=True) if i}
