"""The base model: made from scratch, taken from a directory, or fetched from the Hub."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from preference.core.errors import InputError, first_line
from preference.core.files import replacing
from preference.core.params import Model, Scratch
from preference.core.paths import located
from preference.model import loading
from preference.store import checksums
from preference.store.text import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

EOS = "<|endoftext|>"


def create_base(model: Model, seed: int, out: Path, texts: Iterable[str]) -> None:
    """Make, copy or download the base model and its tokenizer into `out`.

    Args:
        texts: what a tokenizer made from scratch learns from.

    Raises:
        InputError: it does not exist, is not pinned, cannot be reached, or cannot be used.
    """
    if model.base == "scratch":
        tokenizer, network = _scratch(model.scratch, seed, texts)
        name = "scratch"
    else:
        directory = loading.locate(
            model.base, model.revision, "params.yaml: model.base", "model.revision"
        )
        tokenizer, network = (
            _read_tokenizer(directory),
            loading.load(directory, random_seed=seed),
        )
        # No path, which would tell of a machine.
        name = "directory" if located(model.base).is_dir() else f"{model.base}@{model.revision}"
    _check(tokenizer, network, model.base)
    with replacing(out) as temporary:
        network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        # Every model that is trained from this one says so.
        write_json(temporary / loading.ORIGIN, {"base_model": name})
        checksums.seal(temporary)


def _scratch(
    size: Scratch, seed: int, texts: Iterable[str]
) -> "tuple[PreTrainedTokenizerFast, PreTrainedModel]":
    """A small GPT-2 with random weights, and a byte-level BPE of some text."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    fast = Tokenizer(BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocab_size,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=EOS, bos_token=EOS)
    eos = tokenizer.convert_tokens_to_ids(EOS)
    config = GPT2Config(
        n_layer=size.n_layer,
        n_head=size.n_head,
        n_embd=size.n_embd,
        n_positions=size.n_positions,
        vocab_size=size.vocab_size,
        # GPT-2's own function; only this spelling of it is fused.
        activation_function="gelu_pytorch_tanh",
        bos_token_id=eos,
        eos_token_id=eos,
    )
    torch.manual_seed(seed)
    return tokenizer, GPT2LMHeadModel(config)


def _read_tokenizer(directory: Path) -> "PreTrainedTokenizerFast":
    # It imports every tokenizer's kind; a base from scratch does not need it.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except loading.UNREADABLE as error:
        raise InputError(
            f"{directory}: no usable tokenizer ({first_line(error)}); it needs tokenizer.json "
            "and tokenizer_config.json"
        ) from None
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_ids):
        # Where there are no files, transformers makes an empty tokenizer of the model's kind.
        raise InputError(
            f"{directory}: no tokenizer; it needs tokenizer.json and tokenizer_config.json"
        )
    if not tokenizer.is_fast:
        raise InputError(
            f"{directory}: has only a slow tokenizer; convert it and save tokenizer.json there"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{directory / 'tokenizer_config.json'}: no eos_token; every response ends with it, "
            "so name one that the vocabulary has"
        )
    return tokenizer


def _check(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", name: str) -> None:
    rows = model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise InputError(
            f"model.base {name!r}: the tokenizer has ids up to {largest}, the model {rows} "
            "embeddings; they do not belong together"
        )
