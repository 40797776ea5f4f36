"""What a model's config says, held against what it is, before anything runs."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from preference.core.errors import InputError
from preference.model.weights import read_object

# How configs call the number of tokens that a model takes.
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions")


def positions(config: PreTrainedConfig) -> int | None:
    """How many tokens a model takes at most, whatever its config calls that; None: no limit."""
    return next((value for _, value in _positions(config)), None)


def _positions(config: PreTrainedConfig) -> Iterator[tuple[str, int]]:
    text = config.get_text_config(decoder=True)
    for name in POSITIONS:
        value = getattr(text, name, None)
        if isinstance(value, int):
            yield text.attribute_map.get(name, name), value


def require_length(model: PreTrainedModel, longest: int) -> None:
    """Refuse sequences longer than the model has positions for."""
    for name, limit in _positions(model.config):
        if longest > limit:
            raise InputError(
                f"the prepared pairs have up to {longest} tokens, but the model takes {limit} at "
                f"most ({name} in its config.json); in params.yaml set data.max_length to {limit} "
                "or less"
            )


def require_room(model: PreTrainedModel, max_new_tokens: int, where: str) -> None:
    """Refuse answers so long that the model has no position left for a prompt.

    Args:
        where: what set `max_new_tokens`, for the error message.
    """
    limit = positions(model.config)
    if limit is not None and max_new_tokens >= limit:
        raise InputError(
            f"{where}: {max_new_tokens} new tokens leave no room for a prompt, since the model "
            f"takes {limit} tokens at most; set it to less"
        )


def require_finite(
    model: nn.Module, directory: Path, whole: Callable[[Tensor], Tensor] = lambda value: value
) -> None:
    """Refuse weights of which some are NaN or infinite.

    Args:
        whole: makes one number of those that processes have of their parts.
    """
    for name, tensor in model.named_parameters():
        values = tensor.detach()
        # The sum tells in one pass, unless it overflows.
        if not whole(values.sum()).isfinite() and (wrong := int(whole((~values.isfinite()).sum()))):
            raise InputError(
                f"{directory}: {wrong} of the {values.numel()} weights in {name} are NaN or "
                "infinite: the training that made them failed, or the file is damaged; take an "
                "earlier checkpoint, or fetch it again"
            )


def require_stored(info: Mapping[str, set], directory: Path) -> list[str]:
    """Refuse weights that do not fill the model that config.json describes.

    Args:
        info: what `from_pretrained` says of loading.

    Returns:
        Names of weights that the model has no place for.
    """
    for name, stored, wanted in sorted(info["mismatched_keys"]):
        raise InputError(
            f"{directory}: config.json and weights disagree: {name} is stored with shape "
            f"{tuple(stored)}, and by config.json it has {tuple(wanted)}; use the config.json that "
            "was saved with these weights"
        )
    if info["missing_keys"]:
        raise InputError(
            f"{directory}: weights are missing ({', '.join(sorted(info['missing_keys'])[:5])}); "
            "random ones in their place would be a silent error. Fetch the model again"
        )
    return sorted(info["unexpected_keys"])


def require_tied(model: PreTrainedModel, directory: Path) -> None:
    """Refuse two different matrices where config.json says that both are one.

    They would be trained apart, saved as one, and the other lost.
    """
    value = model.get_parameter_or_buffer
    for name, other in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        if value(name) is not value(other):
            raise InputError(
                f"{directory / 'config.json'}: tie_word_embeddings is true (there, or as this kind "
                f"of model has it), but the stored {name} and {other} differ; if both are "
                "meant, set tie_word_embeddings to false in config.json, else use the config.json "
                "that was saved with these weights"
            )


@torch.no_grad()
def require_causal(run: Callable[..., Any], device: torch.device, directory: Path) -> None:
    """Refuse a model whose predictions see the answer; no config key tells it for all kinds.

    Args:
        run: what gives its outputs, in float32.
    """
    ids = torch.zeros(2, 4, dtype=torch.long, device=device)
    ids[1, -1] = 1
    one, other = run(input_ids=ids, use_cache=False).logits[:, :-1]
    if not torch.allclose(one, other, rtol=1e-4, atol=1e-4):
        raise InputError(
            f"{directory}: no causal language model: its predictions depend on later tokens"
        )


def ids_beyond(config: Path, rows: int) -> list[tuple[str, int]]:
    """Special tokens that a config.json names and the model has no embedding for: key and id."""
    return list(_ids_beyond(read_object(config), rows))


def require_padding(config: Path, rows: int) -> None:
    """Refuse a padding token for which the model has no embedding; it could not be made."""
    for key, number in ids_beyond(config, rows):
        if key.endswith("pad_token_id"):
            raise InputError(
                f"{config}: {key} is {number}, and the model has {rows} embeddings; set it to null "
                "or to the id of a token that there is"
            )


def warn_of_ids(config: Path, rows: int) -> None:
    """Warn of other special tokens for which the model has no embedding; nothing here uses them."""
    for key, number in ids_beyond(config, rows):
        logging.warning(
            "%s: %s is %d, and the model has %d embeddings. Here answers end with the tokenizer's "
            "eos_token, elsewhere they would not end; set it to a token that there is",
            config,
            key,
            number,
            rows,
        )


def _ids_beyond(settings: Mapping[str, object], rows: int) -> Iterator[tuple[str, int]]:
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        value = settings.get(key)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and number >= rows:
                yield key, number
    text = settings.get("text_config")
    if isinstance(text, dict):
        yield from ((f"text_config.{key}", number) for key, number in _ids_beyond(text, rows))
