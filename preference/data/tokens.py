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
SIGNS = 0x10F000  # the first of some characters that are for private use
SIGN = re.compile(f"[{chr(SIGNS)}-{chr(SIGNS + 0xFFF)}]")


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
    return ragged([e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)])


def ragged(ids: Sequence[Sequence[int]]) -> Ragged:
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    values = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(lengths.sum()))
    return Ragged.of(values, lengths)


def append(rows: Ragged, token: int) -> Ragged:
    """Put one more token at the end of every row; rows stand one after the other."""
    values = np.insert(rows.values, rows.starts + rows.lengths, token)
    return Ragged.of(values, rows.lengths + 1)


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
        special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
        longest_first = [] if keep else sorted(special, key=len, reverse=True)
        # A sign that data hold is hidden as well: it is no sign there.
        self._pattern = re.compile("|".join([*map(re.escape, longest_first), SIGN.pattern]))
        self._tokenizer, self._signs = tokenizer, dict[str, str]()

    def hidden(self, text: str) -> tuple[str, int]:
        """The text with signs in the place of special tokens, and how many there were."""
        if not self._pattern.search(text):
            return text, 0
        signs = len(SIGN.findall(text))
        hidden, found = self._pattern.subn(self._sign, text)
        return hidden, found - signs

    def _sign(self, found: re.Match[str]) -> str:
        return self._signs.setdefault(found[0], chr(SIGNS + len(self._signs)))

    def shown(self, text: str) -> str:
        """The text as it was before it was `hidden`."""
        tokens = list(self._signs)
        return SIGN.sub(lambda found: tokens[ord(found[0]) - SIGNS], text)

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Token ids of hidden texts."""
        if not any(map(SIGN.search, texts)):
            return encode(self._tokenizer, texts)
        copy = self._knowing
        # Those that it knows already are not added again.
        copy.add_special_tokens([AddedToken(s, normalized=False) for s in self._signs.values()])
        literal = {copy.token_to_id(sign): self._literal(t) for t, sign in self._signs.items()}
        encoded = copy.encode_batch_fast(texts, add_special_tokens=False)
        return ragged([[i for id_ in e.ids for i in literal.get(id_, (id_,))] for e in encoded])

    def _literal(self, token: str) -> Sequence[int]:
        """The ids of a special token's text."""
        # Behind a letter: some tokenizers put a space before a text's beginning.
        texts = ("a", f"a{token}")
        letter, both = (self._blind.encode(t, add_special_tokens=False).ids for t in texts)
        return both[len(letter) :]

    @cached_property
    def _knowing(self) -> Tokenizer:
        """A copy of the tokenizer, to know the signs."""
        return Tokenizer.from_str(self._tokenizer.to_str())

    @cached_property
    def _blind(self) -> Tokenizer:
        """A copy of the tokenizer to which special tokens are text."""
        copy = Tokenizer.from_str(self._tokenizer.to_str())
        copy.encode_special_tokens = True
        return copy
