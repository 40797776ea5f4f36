"""What a model answers to a prompt in the dialogue format, for many prompts or word by word."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteriaList,
)

from preference.core.errors import InputError
from preference.data import tokens
from preference.data.formats.hh import first_turn, settled
from preference.model import checks, directories, loading
from preference.store import checksums
from preference.store.examples import Ragged

BATCH = 16  # prompts that are answered at once
DRAWN = 32  # and for which an answer is drawn
MAX_NEW_TOKENS = "samples.max_new_tokens"


@dataclass(frozen=True)
class Speaker:
    """A model that answers, and how its tokens are read.

    Attributes:
        ends: tokens that end an answer; behind one that has ended, the first stands.
        turns: whether it writes hh-rlhf's markers, where another turn's ends the answer, too.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    ends: tuple[int, ...]
    turns: bool = True

    def in_layout(self, template: str, end: int | None) -> "Speaker":
        """The same, where turns are laid out in another way; `end` ends an answer, too."""
        more = () if end is None or end in self.ends else (end,)
        return replace(self, ends=self.ends + more, turns=template == "hh")


def open_model(
    directory: Path, device: torch.device, template: str = "hh", end: int | None = None
) -> Speaker:
    """Load a model and its tokenizer onto a device, to be asked.

    Args:
        template: how turns are laid out: `none`, `hh` or `chat`.
        end: the token that ends an answer, beside EOS.

    Raises:
        InputError: one of them is missing, damaged, or of another kind.
    """
    checksums.require_undamaged(directory)
    model = loading.load(directory).to(device).eval()
    loaded = tokens.load(directories.tokenizer_of(directory))
    return Speaker(model, loaded.tokenizer, (loaded.eos_id,)).in_layout(template, end)


def distinct(prompts: Ragged, count: int) -> list[int]:
    """Where the first `count` different prompts stand, or all of them; empty ones are none."""
    first: dict[bytes, int] = {}
    for row in np.flatnonzero(prompts.lengths).tolist():
        if len(first) == count:
            break
        first.setdefault(prompts[row].tobytes(), row)
    return list(first.values())


def read(speaker: Speaker, ids: Sequence[int]) -> str:
    """The text of token ids up to what ends an answer, special tokens left out."""
    end = next((place for place, token in enumerate(ids) if token in speaker.ends), len(ids))
    return speaker.tokenizer.decode(list(ids[:end]), skip_special_tokens=True)


def answers(
    speaker: Speaker,
    prompts: Sequence[np.ndarray],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    hear: Callable[[list[str]], None] | None = None,
    where: str = MAX_NEW_TOKENS,
) -> Iterator[str]:
    """The answers to prompts, in their order, each the same as if it were asked alone.

    An answer ends with a token of the speaker's `ends`, where another turn begins, or after
    `max_new_tokens`; white space around it is stripped. Of a prompt that leaves too few of the
    model's positions the beginning goes.

    Args:
        prompts: token ids of each, (tokens,), at least one.
        temperature: 0 takes the likeliest token; above, tokens are drawn from the distribution
            with logits divided by it, for all prompts of a batch from one generator.
        generator: what draws, on the CPU; None stands for one with seed 0.
        hear: called after each token with what is settled of a batch's answers.
        where: what set `max_new_tokens`, for the error message.

    Raises:
        InputError: no position is left for a prompt, or the model lacks some of the token ids.
    """
    kept = _kept(speaker, prompts, max_new_tokens, where)
    draw = None
    if temperature > 0:
        draw = _draw(temperature, generator or torch.Generator().manual_seed(0))
    for start in range(0, len(kept), BATCH):
        for ids in _batch(speaker, kept[start : start + BATCH], max_new_tokens, draw, hear):
            found = read(speaker, ids)
            yield (first_turn(found) if speaker.turns else found).strip()


def drawn(
    speaker: Speaker, prompts: Sequence[np.ndarray], max_new_tokens: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Answers drawn from the model's own distribution, as token ids, each with its prompt.

    What ends an answer is a part of it: a token that does, or another turn's marker. Always the
    same ones are drawn.

    Args:
        prompts: token ids of each, (tokens,), at least one.

    Raises:
        InputError: as `answers` does.
    """
    kept, draw = (
        _kept(speaker, prompts, max_new_tokens),
        _draw(1.0, torch.Generator().manual_seed(0)),
    )
    for start in range(0, len(kept), DRAWN):
        batch = kept[start : start + DRAWN]
        for prompt, ids in zip(batch, _batch(speaker, batch, max_new_tokens, draw), strict=True):
            text = read(speaker, ids)
            end = next((at for at, token in enumerate(ids) if token in speaker.ends), len(ids))
            # Behind a marker there is only padding, which looks as if it ended the answer.
            marked = speaker.turns and first_turn(text) != text
            yield prompt, np.array(ids[: end if marked else end + 1])


def _kept(
    speaker: Speaker,
    prompts: Sequence[np.ndarray],
    max_new_tokens: int,
    where: str = MAX_NEW_TOKENS,
) -> list[np.ndarray]:
    """As much of each prompt as the model has positions for, beside its answer."""
    checks.require_room(speaker.model, max_new_tokens, where)
    positions = checks.positions(speaker.model.config)
    room = max(map(len, prompts), default=0) if positions is None else positions - max_new_tokens
    kept = [prompt[-room:] for prompt in prompts]
    _require_known_tokens(speaker, kept)
    return kept


def _batch(
    speaker: Speaker,
    prompts: Sequence[np.ndarray],
    max_new_tokens: int,
    draw: Callable[[Tensor, Tensor], Tensor] | None,
    hear: Callable[[list[str]], None] | None = None,
) -> list[list[int]]:
    """The token ids of each answer, and of what stands behind one that ended before others."""
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    ids = torch.tensor(
        [
            [speaker.ends[0]] * missing + prompt.tolist()
            for missing, prompt in zip(padding, prompts, strict=True)
        ]
    )
    mask = torch.arange(longest) >= torch.tensor(padding)[:, None]

    turns, over = [""] * len(prompts), [False] * len(prompts)

    def ended(sequences: Tensor, scores: Tensor | None, **_: object) -> Tensor:
        rows = sequences[:, longest:].tolist() if speaker.turns or hear else []
        for row, ids in enumerate(rows):
            # What is over changes no more, and texts take long to read.
            if not over[row]:
                text = read(speaker, ids)
                turns[row] = first_turn(text) if speaker.turns else text
                over[row] = turns[row] != text or ids[-1] in speaker.ends
        if hear:
            hear([settled(turn) for turn in turns])
        return torch.tensor(over, device=sequences.device)

    # What its files say of generating (penalties, other searches) would fill in what is not set
    # here, and models could not be compared.
    speaker.model.generation_config = GenerationConfig()
    device = speaker.model.device
    sequences = speaker.model.generate(
        input_ids=ids.to(device),
        attention_mask=mask.long().to(device),
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(speaker.ends),
            # Also behind an answer that has ended before the others.
            pad_token_id=speaker.ends[0],
        ),
        logits_processor=LogitsProcessorList([draw] if draw else []),
        stopping_criteria=StoppingCriteriaList([ended]),
    )
    return sequences[:, longest:].tolist()


def _draw(temperature: float, generator: torch.Generator) -> Callable[[Tensor, Tensor], Tensor]:
    """Leave each row the one token that is drawn, to a search that takes the likeliest.

    The library would draw with the generator that all of a process shares.
    """

    def drawn(sequences: Tensor, scores: Tensor) -> Tensor:
        # From the likeliest on, so that no division by a small temperature overflows.
        scaled = (scores - scores.amax(-1, keepdim=True)) / temperature
        token = torch.multinomial(scaled.softmax(-1).cpu(), 1, generator=generator)
        return torch.full_like(scores, -torch.inf).scatter(1, token.to(scores.device), 0.0)

    return drawn


def _require_known_tokens(speaker: Speaker, prompts: Sequence[np.ndarray]) -> None:
    known = speaker.model.get_input_embeddings().num_embeddings
    largest = max((int(prompt.max()) for prompt in prompts), default=0)
    largest = max(largest, *speaker.ends)
    if largest >= known:
        raise InputError(
            f"the tokenizer has token ids up to {largest}, the model knows "
            f"{known}; they do not belong together"
        )
