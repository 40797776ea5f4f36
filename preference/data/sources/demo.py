"""The embedded demo: preference dialogues in hh-rlhf's format, from a seeded generator.

In each pair one answer is better for a reason that the prompt gives: it answers the question and
not another one, declines an unsafe request (and only such) with an alternative, is polite, or is
complete. Both answers draw their lengths from one distribution, and a tenth of the labels is
flipped, in training and test, so that no model can reach more than 0.9.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

from preference.core.data_params import Demo

PHRASES: dict[str, Any] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("phrases.yaml"))
QUESTIONS, TASKS, UNSAFE = (
    [(one["request"], one["answers"]) for one in PHRASES[kind]]
    for kind in ("questions", "tasks", "unsafe")
)
FLIPPED = 0.1
TURNS = {"short": (50, 28, 14, 8), "hh-rlhf": (30, 25, 25, 20)}
Slots = dict[str, str]


def rows(split: str, settings: Demo) -> Iterator[tuple[str, str]]:
    """`(chosen, rejected)` dialogues, as many rows as the settings ask for.

    Args:
        split: `train` or `test`; they share no slot value.
        settings: how many rows, how long, from which seed.
    """
    random = Random(f"{settings.seed}/{split}")
    values = _values(split)
    count = settings.train_rows if split == "train" else settings.test_rows
    for _ in range(count):
        yield _row(random, values, settings.lengths)


def texts() -> Iterator[str]:
    """Some of its dialogues, for a tokenizer to be made from."""
    for row in rows("train", Demo(train_rows=3000, test_rows=1, lengths="short", seed=0)):
        yield from row


def _row(random: Random, values: dict[str, list[str]], lengths: str) -> tuple[str, str]:
    history = ""
    turns = random.choices((1, 2, 3, 4), TURNS[lengths])[0]
    for turn in range(turns - 1):
        request, cores = random.choice(QUESTIONS + TASKS)
        slots = _draw(random, values)
        core = random.choice(cores).format(**slots)
        answer = _answer(random, values, lengths, core, PHRASES["neutral"])
        history += _turn(random, request, slots, turn) + answer
    request, better, worse = _judged(random, values, lengths, turns - 1)
    if random.random() < FLIPPED:
        better, worse = worse, better
    return history + request + better, history + request + worse


def _judged(
    random: Random, values: dict[str, list[str]], lengths: str, turn: int
) -> tuple[str, str, str]:
    """A request, a better and a worse answer to it."""
    slots, others = _draw(random, values), _draw(random, values)
    reason = random.choices(("topic", "safety", "tone", "evasion"), (35, 30, 20, 15))[0]
    openers = (PHRASES["neutral"], PHRASES["neutral"])
    unsafe = reason == "safety" and random.random() < 0.5
    kind = UNSAFE if unsafe else random.choice((QUESTIONS, TASKS))
    request, fitting = random.choice(kind)
    answer = random.choice(fitting).format(**slots)
    if reason == "topic":
        other = random.choice(random.choice(QUESTIONS + TASKS)[1])
        cores = (answer, other.format(**others))
    elif reason == "safety":
        # Declining is right for an unsafe request, and wrong for a harmless one.
        decline = random.choice(PHRASES["declines"]).format(**others)
        cores = (decline, answer) if unsafe else (answer, decline)
    elif reason == "tone":
        cores = (answer, random.choice(fitting).format(**slots))
        openers = (PHRASES["polite"], PHRASES["rude"])
    else:
        cores = (answer, random.choice(PHRASES["evasions"]).format(**others))
    better, worse = (
        _answer(random, values, lengths, core, opener)
        for core, opener in zip(cores, openers, strict=True)
    )
    return _turn(random, request, slots, turn), better, worse


def _turn(random: Random, request: str, slots: Slots, turn: int) -> str:
    lead = random.choice(PHRASES["follow_ups"]) if turn else ""
    return f"\n\nHuman: {lead}{request.format(**slots)}\n\nAssistant: "


def _answer(
    random: Random,
    values: dict[str, list[str]],
    lengths: str,
    core: str,
    openers: list[str],
) -> str:
    sentences = [random.choice(openers), core]
    if lengths == "short":
        details = random.choices((0, 1, 2), (50, 35, 15))[0]
    else:
        # A log-normal fits hh-rlhf's responses (GPT-2 tokens: mean 48, median 34, 1% over 220).
        details = min(60, int(random.lognormvariate(0.6, 1.15)))
    for _ in range(details):
        detail = random.choice(PHRASES["details"])
        sentences.append(detail.format(**_draw(random, values)) if "{" in detail else detail)
    return " ".join(sentences)


def _draw(random: Random, values: dict[str, list[str]]) -> Slots:
    return {slot: random.choice(options) for slot, options in values.items()}


def _values(split: str) -> dict[str, list[str]]:
    """The slot values of one split: every fifth is for tests, the others are for training."""
    lists: dict[str, list[str]] = dict(PHRASES["slots"])
    towns = product(PHRASES["towns"]["starts"], PHRASES["towns"]["ends"])
    lists["town"] = [start + end for start, end in towns]
    held_out = split == "test"
    return {
        slot: [value for i, value in enumerate(options) if (i % 5 == 4) == held_out]
        for slot, options in lists.items()
    }
