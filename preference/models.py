"""Models in directories: create, fetch, load, save. Safetensors only, never code from outside."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from preference import demo, sources
from preference.errors import InputError
from preference.files import replacing
from preference.params import Demo, Model, Scratch

EOS = "<|endoftext|>"
# What a model directory may hold beside weights and configuration, and what is fetched of it.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.model",
    "chat_template.*",
)
MODEL_FILES = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")


def create_base(model: Model, seed: int, out: Path) -> None:
    """Make, copy or download the base model and its tokenizer into `out`.

    Raises:
        InputError: it does not exist, is not pinned, cannot be reached, or cannot be used.
    """
    if model.base == "scratch":
        tokenizer, network = _scratch(model.scratch, seed)
    else:
        directory = locate(model.base, model.revision, "params.yaml: model.base", "model.revision")
        tokenizer, network = _read_tokenizer(directory), _read_model(directory, seed)
    _check(tokenizer, network, model.base)
    with replacing(out) as temporary:
        network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def locate(name: str, revision: str | None, where: str, revision_key: str) -> Path:
    """The directory of a model: a local one, or the download of a Hub id at a pinned commit.

    Args:
        where: what named the model, for the error message.
        revision_key: what should have pinned it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "/", "~")):
        raise InputError(f"{where}: {name!r} is no directory with config and tokenizer")
    commit = sources.require_commit(name, revision, where, revision_key)
    from huggingface_hub import snapshot_download

    try:
        patterns = [*MODEL_FILES, *TOKENIZER_FILES]
        return Path(snapshot_download(name, revision=commit, allow_patterns=patterns))
    except Exception as error:
        # The client raises errors of several libraries; all of them mean the same here.
        raise InputError(
            f"Hub model {name} at {commit}: cannot be fetched ({type(error).__name__}: "
            f"{str(error)[:300]}). Check the network, the id and {revision_key}; or download the "
            "files and name their directory instead"
        ) from error


def load(directory: Path) -> PreTrainedModel:
    """Load a saved model in float32, to train or to score; mixed precision casts as it goes."""
    return _read_model(directory, seed=None)


def save(model: PreTrainedModel, tokenizer_from: Path, out: Path) -> None:
    """Save a trained model, with the tokenizer files of the model that it came from."""
    with replacing(out) as temporary:
        model.save_pretrained(temporary)
        for pattern in TOKENIZER_FILES:
            for file in tokenizer_from.glob(pattern):
                shutil.copyfile(file, temporary / file.name)


def require_same_tokenizer(directory: Path, base: Path) -> None:
    """Refuse a model whose tokenizer is not the one that the pairs were prepared with."""
    theirs, ours = directory / "tokenizer.json", base / "tokenizer.json"
    if not theirs.exists():
        return
    vocabularies = [Tokenizer.from_file(str(file)).get_vocab() for file in (theirs, ours)]
    if vocabularies[0] != vocabularies[1]:
        raise InputError(
            f"{directory}: its tokenizer is not that of {base}, with which the test pairs were "
            "prepared; set model.base to this model (or its base) and run dvc repro prepare first"
        )


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse sequences longer than the model has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and max_length > positions:
        raise InputError(
            f"params.yaml: data.max_length is {max_length}, but the model takes {positions} "
            f"tokens at most; set it to {positions} or less"
        )


def _scratch(size: Scratch, seed: int) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:
    """A small GPT-2 with random weights, and a byte-level BPE of the demo's own text."""
    fast = Tokenizer(BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocab_size,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(_demo_texts(), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token=EOS, bos_token=EOS)
    eos = tokenizer.convert_tokens_to_ids(EOS)
    config = GPT2Config(**size.model_dump(), bos_token_id=eos, eos_token_id=eos)
    torch.manual_seed(seed)
    return tokenizer, GPT2LMHeadModel(config)


def _demo_texts() -> Iterator[str]:
    for chosen, rejected in demo.rows("train", Demo(train_rows=3000)):
        yield chosen
        yield rejected


def _read_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(
            f"{directory}: no usable tokenizer ({_first_line(error)}); it needs tokenizer.json "
            "and tokenizer_config.json"
        ) from None
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


def _read_model(directory: Path, seed: int | None) -> PreTrainedModel:
    """Load weights in float32; with a seed, a directory without weights gives random ones."""
    settings = _config_values(directory)
    if "auto_map" in settings:
        raise InputError(
            f"{directory / 'config.json'}: auto_map asks to run code that comes with the model, "
            "which is never done; use an architecture that transformers itself has"
        )
    weights = sorted(directory.glob("*.safetensors"))
    pickled = sorted([*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.pth")])
    if pickled and not weights:
        raise InputError(
            f"{pickled[0]}: pickled weights can run code, so they are not read; save the model "
            "with save_pretrained, which writes safetensors"
        )
    if not weights and seed is None:
        raise InputError(f"{directory}: holds no *.safetensors; run dvc repro")
    try:
        if weights:
            model, info = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        else:
            torch.manual_seed(seed or 0)
            config = AutoConfig.from_pretrained(directory, local_files_only=True)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise InputError(
            f"{directory}: cannot be loaded as a causal language model ({_first_line(error)})"
        ) from None
    if info["missing_keys"]:
        raise InputError(
            f"{directory}: weights are missing ({', '.join(sorted(info['missing_keys'])[:5])}); "
            "random ones in their place would be a silent error. Fetch the model again"
        )
    return model


def _config_values(directory: Path) -> dict[str, object]:
    path = directory / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; a model directory needs config.json, tokenizer files and, "
            "unless random weights are wanted, *.safetensors"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def _check(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, name: str) -> None:
    rows = model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise InputError(
            f"model.base {name!r}: the tokenizer has ids up to {largest}, the model {rows} "
            "embeddings; they do not belong together"
        )


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}"
