"""The base model: made from scratch, taken from a directory or a file, or from the Hub."""

import logging
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from preference.core.errors import InputError
from preference.core.files import replacing
from preference.core.optimization import RANDOM_WEIGHTS
from preference.core.params import Model, Scratch
from preference.core.paths import located
from preference.model import checks, directories, gguf, loading, tokenizer
from preference.store import checksums
from preference.store.text import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

EOS = "<|endoftext|>"


def create_base(
    model: Model, seed: int, out: Path, texts: Iterable[str], template: Path | None = None
) -> None:
    """Make, copy or download the base model and its tokenizer into `out`.

    Args:
        texts: what a tokenizer made from scratch learns from.
        template: a file with a chat template, for the tokenizer to have in place of its own.

    Raises:
        InputError: it does not exist, is not pinned, cannot be reached, or cannot be used.
    """
    random = model.weights == "random"
    path = located(model.base)
    scratch, file = model.base == "scratch", path.suffix == gguf.SUFFIX and not path.is_dir()
    if not (scratch or file):
        path = directories.locate(
            model.base, model.revision, "params.yaml: model.base", "model.revision"
        )
    with replacing(out) as temporary:
        temporary.mkdir()
        if scratch:
            for part in _scratch(model.scratch, seed, texts):
                part.save_pretrained(temporary)
            name = "scratch"
        elif file:
            _from_file(path, random, temporary)
            name = f"{path.name} ({checksums.short([path])})"
        else:
            local = located(model.base).is_dir()
            # Whoever names a model of the Hub means its weights.
            _from_directory(path, seed if local or random else None, random, temporary)
            name = f"{model.base}@{model.revision}{RANDOM_WEIGHTS * random}"
            if local:
                name = directories.described(path, random=random)
        tokenizer.set_chat_template(temporary, template)
        # Every model that is trained from this one says so.
        write_json(temporary / directories.ORIGIN, {"base_model": name})
        checksums.seal(temporary)


def _from_directory(directory: Path, seed: int | None, random: bool, out: Path) -> None:
    """Take over a model, or an adapter merged into its base; see `loading.load`."""
    base = directories.parts(directory)[-1]
    if random and base != directory:
        raise InputError(
            f"{directory}: an adapter, of which random weights make nothing; set model.weights to "
            "auto, or model.base to the adapter's base"
        )
    # What is wrong with them takes no time to find: before the weights.
    loading.read_config(base).save_pretrained(out)
    source = directories.tokenizer_of(directory)
    fast = tokenizer.take(source, out)
    network = loading.load(directory, seed, ignore_weights=random)
    checks.warn_of_ids(base / "config.json", network.get_input_embeddings().num_embeddings)
    _save(network, fast, source / tokenizer.JSON, base / "config.json", out)


def _from_file(path: Path, random: bool, out: Path) -> None:
    """Take over a model from a GGUF file."""
    if not path.is_file():
        raise InputError(f"params.yaml: model.base: {str(path)!r}: no such file")
    if random:
        raise InputError(f"{path}: model.weights: random is for a directory with config.json")
    with TemporaryDirectory() as temporary:
        gguf.read_tokenizer(path).save_pretrained(temporary)
        network = gguf.load(path)
        network.config.save_pretrained(out)
        fast = tokenizer.take(Path(temporary), out)
    logging.info("%s: dequantized to float32", path)
    _save(network, fast, path, path, out)


def _save(
    network: "PreTrainedModel", fast: Tokenizer, vocabulary: Path, config: Path, out: Path
) -> None:
    rows = network.get_input_embeddings().num_embeddings
    tokenizer.require_embeddings(out, fast, rows, vocabulary, config)
    network.save_pretrained(out)


def _scratch(
    size: Scratch, seed: int, texts: Iterable[str]
) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
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
    whole = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=EOS, bos_token=EOS)
    eos = whole.convert_tokens_to_ids(EOS)
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
    return GPT2LMHeadModel(config), whole
