"""A GGUF file as a base: its weights in float32, its config and its tokenizer, by transformers."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedModel

from preference.core.errors import InputError, is_full_disk, one_line
from preference.model import checks
from preference.model.layers import fuse_activations
from preference.model.loading import heard, require_sound

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SUFFIX = ".gguf"
MODEL, EOS, PRE = (f"tokenizer.ggml.{key}" for key in ("model", "eos_token_id", "pre"))
# Splits text as GPT-2 does, which is what transformers takes where it knows no rules of a name.
AS_GPT2 = ("default", "gpt-2")


def read_tokenizer(path: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer in a GGUF file, its chat template included.

    Raises:
        InputError: the file is damaged, or holds none that transformers can make.
    """
    from transformers import AutoTokenizer

    metadata, _ = _header(path)
    for key in (MODEL, EOS):
        if key not in metadata:
            raise InputError(
                f"{path}: no {key} in it; take a file with a whole tokenizer, or the model's own "
                "directory"
            )
    _warn_of_splits(path, metadata)
    with _alone(path) as at:
        return AutoTokenizer.from_pretrained(at.parent, gguf_file=at.name, local_files_only=True)


def load(path: Path) -> PreTrainedModel:
    """The model in a GGUF file, dequantized to float32.

    Raises:
        InputError: the file is damaged, a part of several, or of a kind that transformers does
            not take over wholly.
    """
    _require_whole_meaning(path, *_header(path))
    with _alone(path) as at, heard(path):
        model, info = AutoModelForCausalLM.from_pretrained(
            at.parent,
            gguf_file=at.name,
            dtype=torch.float32,
            # Else it could stay quantized, and would not be saved.
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    checks.require_stored(info, path)
    checks.require_tied(model, path)
    require_sound(model, model, path)
    fuse_activations(model)
    return model


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """The file in a directory without the files beside it, which transformers would read, too."""
    with tempfile.TemporaryDirectory() as directory:
        at = Path(directory, "model.gguf")
        at.symlink_to(path.resolve())
        try:
            yield at
        except InputError:
            raise
        except Exception as error:
            # Damage shows as whatever the bytes lead to.
            if is_full_disk(error):
                raise
            said = one_line(error).replace(str(at), str(path)).replace(directory, str(path.parent))
            raise InputError(
                f"{path}: cannot be taken over: damaged, or of a kind that transformers does not "
                f"read ({said}); fetch it again, or use the model in safetensors"
            ) from None


def _header(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Metadata and names of tensors."""
    from transformers.integrations.gguf import read_gguf_metadata

    with _alone(path) as at:
        return read_gguf_metadata(str(at))


def _require_whole_meaning(
    path: Path, metadata: Mapping[str, Any], tensors: tuple[str, ...]
) -> None:
    """Refuse what transformers would read only a part of, without a word."""
    if (count := metadata.get("split.count", 0)) > 1:
        raise InputError(
            f"{path}: one of {count} parts; join them with llama.cpp's llama-gguf-split --merge"
        )
    kind = metadata.get(f"{metadata['general.architecture']}.rope.scaling.type", "none")
    scaled = [name for name in tensors if name.startswith(("rope_freqs", "rope_factors"))]
    if scaled or kind != "none":
        raise InputError(
            f"{path}: its positions are scaled ({scaled[0] if scaled else kind}), which "
            "transformers does not take over from GGUF: it would be another model; use the model "
            "in safetensors"
        )


def _warn_of_splits(path: Path, metadata: Mapping[str, Any]) -> None:

    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    name = metadata.get(PRE, "default")
    if metadata[MODEL] == "gpt2" and name not in (*AS_GPT2, *GGUF_PRE_TOKENIZER_SPLITS):
        logging.warning(
            "%s: transformers has no rules for how its tokenizer splits text (%s: %s) and takes "
            "GPT-2's: some ids may differ from those that the model was trained with. The model's "
            "own directory has the tokenizer itself",
            path,
            PRE,
            name,
        )
