"""A byte-level BPE tokenizer in the words of GGUF; one that they would make another is refused.

A GGUF file holds tokens, merges and the name of the rules by which text is split; the rules
themselves are in llama.cpp. What it has no rules for it would split in another way, without a word.
"""

import logging
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from preference.core.errors import InputError
from preference.model.tokenizer import JSON, PROBES
from preference.model.weights import read_object

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
# What tokenizer.json says of its splits, and llama.cpp's name for it.
SPLITS = {"gpt-2": [BYTES], "smollm": [DIGITS, BYTES]}
# What llama.cpp's byte-level BPE does not do; each is switched off by a value that is false.
BEYOND_BPE = (
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)
BEYOND_MATCHING = ("lstrip", "rstrip", "single_word")
SPECIAL = ("bos", "eos", "unk", "pad")
# No text in UTF-8 has these bytes.
NEVER = (0xC0, 0xC1, *range(0xF5, 0x100))


class Vocabulary(NamedTuple):
    """A tokenizer as GGUF has it.

    Attributes:
        pre: llama.cpp's name for how text is split.
        tokens: by id, as many as the model has embeddings.
        types: what each token is: normal, control, user-defined or unused.
        merges: the two tokens of each, with a space between.
        special: ids of the special tokens that there are.
        frame: whether BOS and EOS are put around a text.
        template: of a chat, in Jinja.
    """

    pre: str
    tokens: list[str]
    types: list[TokenType]
    merges: list[str]
    special: dict[str, int]
    frame: tuple[bool, bool]
    template: str | None


def read(directory: Path, rows: int) -> Vocabulary:
    """The tokenizer of a model's directory.

    Args:
        rows: embeddings of the model; those that no token has are given to unused ones, as
            llama.cpp's own converter does.

    Raises:
        InputError: it is no byte-level BPE, or does what GGUF has no words for.
    """
    path = directory / JSON
    raw = read_object(path)
    for problem in _problems(raw):
        raise InputError(
            f"{path}: {problem}, which GGUF cannot say: other ids would come out. Export the model "
            "as safetensors instead (without FORMAT=gguf)"
        )
    if lacking := _lacking(_model(raw)["vocab"]):
        logging.warning(
            "%s: no token for the bytes %s; they are left out of a text, and what is beside them "
            "may get other ids from llama.cpp",
            path,
            ", ".join(lacking),
        )
    tokens, types = _tokens(raw, rows, path)
    known = {token: number for number, token in enumerate(tokens)}
    tokenizer = AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )
    named = {kind: getattr(tokenizer, f"{kind}_token") for kind in SPECIAL}
    special = {kind: known[token] for kind, token in named.items() if token in known}
    template = tokenizer.chat_template
    if template is not None and not isinstance(template, str):
        raise InputError(f"{directory}: has several chat templates; leave the one that is meant")
    if template and "bos_token" in template and "bos" not in special:
        # llama.cpp would put another token in its place.
        raise InputError(
            f"{directory}: the chat template asks for bos_token, and the tokenizer has none; name "
            "one in tokenizer_config.json, or export the model as safetensors"
        )
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in _model(raw)["merges"]]
    frame = _frame(Tokenizer.from_file(str(path)), special, path)
    return Vocabulary(_split(raw) or "", tokens, types, merges, special, frame, template)


def add(vocabulary: Vocabulary, writer: GGUFWriter) -> None:
    """Write a tokenizer into a file that is being made."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    for kind, number in vocabulary.special.items():
        getattr(writer, f"add_{kind}_token_id")(number)
    writer.add_add_bos_token(vocabulary.frame[0])
    writer.add_add_eos_token(vocabulary.frame[1])
    if vocabulary.template:
        writer.add_chat_template(vocabulary.template)


def _model(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    return raw.get("model") or {}


def _added(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    return raw.get("added_tokens") or []


def _split(raw: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for how a tokenizer splits text; None where it is none of those known."""
    rule = raw.get("pre_tokenizer") or {}
    parts = rule.get("pretokenizers", []) if rule.get("type") == "Sequence" else [rule]
    # Offsets are nothing that ids depend on, and older files leave out what is the default.
    said = [{k: v for k, v in part.items() if k != "trim_offsets"} for part in parts]
    said = [BYTES | part if part.get("type") == "ByteLevel" else part for part in said]
    return next((name for name, known in SPLITS.items() if said == known), None)


def _problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """What a tokenizer does beyond a byte-level BPE with known splits."""
    model, decoder = _model(raw), raw.get("decoder") or {}
    if model.get("type") != "BPE":
        yield f"a tokenizer of the kind {model.get('type')}"
    yield from (f"model.{key} is {model[key]!r}" for key in BEYOND_BPE if model.get(key))
    if raw.get("normalizer"):
        yield f"a normalizer ({raw['normalizer'].get('type')})"
    if decoder.get("type") != "ByteLevel":
        yield f"a decoder of the kind {decoder.get('type')}"
    if _split(raw) is None:
        yield f"a pre_tokenizer that is none of {', '.join(SPLITS)} ({raw.get('pre_tokenizer')})"
    for token in _added(raw):
        set_ = [key for key in BEYOND_MATCHING if token.get(key)]
        if set_:
            yield f"the added token {token['content']!r} with {set_[0]}"
    vocabulary = model.get("vocab") or {}
    added = {token["content"] for token in _added(raw)}
    alphabet = set(bytes_to_unicode().values())
    odd = [token for token in vocabulary if token not in added and not alphabet.issuperset(token)]
    if odd:
        yield f"the token {odd[0]!r} that is not in bytes"
    if (unknown := model.get("unk_token")) and (lacking := _lacking(vocabulary)):
        yield f"{unknown!r} in the place of the byte {lacking[0]}"


def _lacking(vocabulary: Mapping[str, int]) -> list[str]:
    """Bytes of UTF-8 for which there is no token."""
    signs = bytes_to_unicode().items()
    return [f"{n:#04x}" for n, sign in sorted(signs) if n not in NEVER and sign not in vocabulary]


def _tokens(raw: Mapping[str, Any], rows: int, path: Path) -> tuple[list[str], list[TokenType]]:
    kinds = {number: (token, TokenType.NORMAL) for token, number in _model(raw)["vocab"].items()}
    for token in _added(raw):
        kind = TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED
        kinds[token["id"]] = (token["content"], kind)
    if max(kinds) >= rows:
        raise InputError(
            f"{path}: has ids up to {max(kinds)}, and the model {rows} embeddings; they do not "
            "belong together"
        )
    found = [kinds.get(i, (f"[PAD{i}]", TokenType.UNUSED)) for i in range(rows)]
    tokens = [token for token, _ in found]
    if len(set(tokens)) < rows:
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise InputError(f"{path}: two ids are of the token {twice!r}, which GGUF cannot say")
    return tokens, [kind for _, kind in found]


def _frame(tokenizer: Tokenizer, special: Mapping[str, int], path: Path) -> tuple[bool, bool]:
    """Whether a text gets BOS before it, and EOS after it."""
    plain, framed = (tokenizer.encode(PROBES[0], add_special_tokens=s).ids for s in (False, True))
    bos, eos = ([special[kind]] if kind in special else [] for kind in ("bos", "eos"))
    for before, after in product((False, True), repeat=2):
        if framed == bos * before + plain + eos * after:
            return before, after
    raise InputError(
        f"{path}: its post_processor puts other tokens around a text than BOS and EOS, which GGUF "
        "cannot say. Export the model as safetensors instead (without FORMAT=gguf)"
    )
