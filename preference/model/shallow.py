"""A model cut to its first layers, to try in float32 what its whole cannot be tried with."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from preference.core.errors import InputError, one_line
from preference.model import loading

LEAST = 2  # layers: the second sees what the first one did


def depth(listed: dict[str, object], layers: int) -> int:
    """How many layers hold one of each kind that a config tells apart.

    Args:
        listed: its values; a list with an entry a layer says of which kind each is.
    """
    found = LEAST
    for kinds in listed.values():
        if isinstance(kinds, list) and len(kinds) == layers:
            found = max(found, 1 + max(kinds.index(kind) for kind in kinds))
    return min(found, layers)


def load(directory: Path) -> PreTrainedModel:
    """The embedding, the first layers with one of each kind, the output layer; in float32.

    Args:
        directory: of a whole model that was looked at when it was written.

    Raises:
        InputError: its architecture cannot be had with fewer layers, or hardly fewer.
    """
    config = loading.read_config(directory)
    text = config.get_text_config(decoder=True)
    listed, layers = text.to_dict(), text.num_hidden_layers
    kept = depth(listed, layers)
    for name, kinds in listed.items():
        if isinstance(kinds, list) and len(kinds) == layers and hasattr(text, name):
            setattr(text, name, kinds[:kept])
    if kept > max(LEAST, layers // 2):
        raise InputError(f"{directory}: {kept} of its {layers} layers differ, too many to be tried")
    text.num_hidden_layers = kept
    try:
        model: PreTrainedModel = loading.from_files(directory, config=config, dtype=torch.float32)
    except loading.UNREADABLE as error:
        raise InputError(
            f"{directory}: cannot be cut to {kept} layers ({one_line(error)})"
        ) from None
    return model
