"""What can be said against a run: a collapse, what makes its numbers mean less."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from preference.core.optimization import warning_of_rate
from preference.core.params import Params
from preference.evaluation.intervals import share_interval
from preference.evaluation.labelled import auc_interval
from preference.objectives.objective import Objective
from preference.report import length, markdown
from preference.report.comparison import Comparison, sides, tested
from preference.store.scores import Scores, mean, rewards

LEVEL = 0.05  # of the test of what was learned
# Nats that the chosen responses' tokens lose on average, against the model before: from these on it
# is a note, a doubt, a collapse. At -2 a token has an eighth of the probability that it had.
FALLS = (-0.5, -1.0, -2.0)
GRAM = 8  # characters
# Share of an answer's pieces of so many characters that were there before: of one that is nothing
# else, and on average over all answers.
REPEATED, OFTEN = 0.75, 0.25
FEW_TEST_PAIRS, FEW_OF_A_LABEL, FEW_STEPS = 100, 50, 20
# Mean size of what DPO's sigmoid is taken of; below, its curve is a straight line.
STRAIGHT = 0.05


class Weight(IntEnum):
    """How much a finding says against a run."""

    NOTE = 0
    DOUBT = 1
    BROKEN = 2


@dataclass(frozen=True)
class Finding:
    weight: Weight
    text: str


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        scores: of the test responses, by `baseline`, `sft` and `final`.
        compared: paired differences, by (before, after) of the same names.
        prepared: the metrics of `prepare`.
        answers: to the same prompts, by the same names.
        titles: what to call the three models.
    """

    settings: Params
    scores: Mapping[str, Scores]
    compared: Mapping[tuple[str, str], Comparison]
    prepared: Mapping[str, Any]
    answers: Mapping[str, Sequence[str]]
    titles: Mapping[str, str]
    objective: Objective


def _likelihood(run: Run) -> Iterator[Finding]:
    """What training did to the likelihood of the chosen responses, for the loss sees only pairs.

    Of data without pairs it is that of the desirable ones.
    """
    final, sft = run.scores["final"], run.scores["sft"]
    ratios = rewards(final, sft, normalize=True, beta=1)
    (good, bad), (chosen, rejected) = zip(
        *((side, mean(ratios[which])) for side, which in sides(final.index).items()), strict=True
    )
    reached = [weight for weight, fall in zip(Weight, FALLS, strict=True) if chosen <= fall]
    if reached:
        collapsed = "The policy has collapsed: " if reached[-1] == Weight.BROKEN else ""
        yield Finding(
            reached[-1],
            f"{collapsed}{run.objective.title} made a token of the {good} responses less likely by "
            f"{-chosen:.2f} nats on average ({np.exp(chosen):.2g} times as likely; {bad} "
            f"responses: {markdown.number(rejected, 2, signed=True)} nats). A lower learning rate "
            "or a higher beta keeps it closer to the reference",
        )


def repetition(text: str) -> float:
    """The share of an answer that repeats itself, between 0 and 1; 1 where there is no answer.

    Pieces of 8 characters that were there before, as a share of all (Welleck et al. 2019's
    seq-rep-n, of characters, which every language has). Shorter answers repeat themselves where
    they are one character alone.
    """
    size = min(GRAM, max(1, len(text) // 2))
    pieces = [text[i : i + size] for i in range(len(text) - size + 1)]
    return 1 - len(set(pieces)) / len(pieces) if len(text) > 1 else float(not text.isalnum())


def _answers(run: Run) -> Iterator[Finding]:
    """Answers that repeat themselves, or are all the same, where those before training are not."""
    policy, sft = run.answers["final"], run.answers["sft"]
    if len(policy) < 2:
        return
    loops, before = (
        sum(not text or repetition(text) > REPEATED for text in texts) for texts in (policy, sft)
    )
    if 2 * loops >= len(policy):
        new = 2 * before < loops
        yield Finding(
            Weight.BROKEN if new else Weight.NOTE,
            f"{'The policy has collapsed: ' * new}{loops} of its {len(policy)} sampled answers are "
            f"empty or repeat themselves ({before} of {run.titles['sft']}'s do). Read them",
        )
        return
    share, earlier = (float(np.mean([*map(repetition, texts)])) for texts in (policy, sft))
    if share > max(OFTEN, 2 * earlier):
        yield Finding(
            Weight.DOUBT,
            f"{share:.0%} of the text of the policy's sampled answers repeats what they said "
            f"before ({earlier:.0%} of {run.titles['sft']}'s). Read them",
        )
    same, before = (len(texts) - len(set(texts)) for texts in (policy, sft))
    if 2 * same >= len(policy) and 2 * before < same:
        yield Finding(
            Weight.DOUBT,
            f"the policy gives one answer to several questions: {len(set(policy))} different ones "
            f"to {len(policy)} ({len(set(sft))} of {run.titles['sft']}). Read them",
        )


def _lengths(run: Run) -> Iterator[Finding]:
    policy, sft = (
        float(np.median([len(text) for text in run.answers[name]] or [0]))
        for name in ("final", "sft")
    )
    if len(run.answers["final"]) > 3 and not sft / 2 <= policy <= 2 * sft:
        yield Finding(
            Weight.DOUBT,
            f"the policy's sampled answers have {policy:.0f} characters (median), where "
            f"{run.titles['sft']}'s have {sft:.0f}: training has moved their length",
        )


def _pairs(run: Run) -> Iterator[Finding]:
    for split, asked in (
        ("train", run.settings.data.train_pairs),
        ("test", run.settings.data.eval_pairs),
    ):
        counts = run.prepared[split]
        pairs, rows = _examples(counts), counts["rows_read"]
        kind = "pairs" if counts["pairs"] else "labelled responses"
        cut = counts["truncated_pairs"] + counts.get("truncated_labelled", 0)
        skipped = sum(counts["skipped"].values())
        if asked and pairs < asked:
            yield Finding(
                Weight.DOUBT if pairs < 0.9 * asked else Weight.NOTE,
                f"{pairs:,} {split} {kind}, where data.{'train' if split == 'train' else 'eval'}"
                f"_pairs asks for {asked:,}: the data have no more to use",
            )
        for count, of, what in (
            (cut, pairs, f"{kind} were cut to data.max_length"),
            (
                skipped,
                rows,
                "rows were skipped as unusable; results/metrics/prepare.json says why",
            ),
        ):
            if 2 * count > of:
                yield Finding(Weight.DOUBT, f"{count:,} of {of:,} {split} {what}")


def _examples(counts: Mapping[str, Any]) -> int:
    """Pairs, and labelled responses that are in none."""
    return int(counts["pairs"] + counts.get("labelled_responses", 0))


def _few(run: Run) -> Iterator[Finding]:
    index = run.scores["final"].index
    if n := len(index.pairs):
        few, what, half = n < FEW_TEST_PAIRS, "an accuracy", share_interval(np.arange(n) < n // 2)
    else:
        counts = [len(responses) for responses in sides(index).values()]
        few, what, half = 0 < min(counts) < FEW_OF_A_LABEL, "an AUC", auc_interval(0.5, *counts)
    if few:
        yield Finding(
            Weight.DOUBT,
            f"only {tested(index)}: {what} of one half is known to lie between {half.low:.2f} "
            f"and {half.high:.2f}, no better",
        )
    train, title = run.settings.train, run.objective.title
    counts = run.prepared["train"]
    examples = counts["pairs"] * run.objective.examples + counts.get("labelled_responses", 0)
    steps = train.epochs * math.ceil(examples / (train.batch_size * train.grad_accum_steps))
    most = train.max_steps or steps
    if steps < most:
        yield Finding(
            Weight.NOTE,
            f"{steps} steps of {title}, where train.max_steps asks for {most}: train.epochs has no "
            "more",
        )
    if (steps := min(steps, most)) < FEW_STEPS:
        yield Finding(Weight.DOUBT, f"only {steps} steps of {title}")


def _length(run: Run) -> Iterator[Finding]:
    """A policy that learned no more than which length is preferred, as pairs tell."""
    if not len(run.scores["final"].index.pairs):
        return
    longer = length.prefers_longer(run.prepared)
    found = length.against(run.scores["final"], run.settings.scoring.length_normalize, longer)
    if not (found.p_value < LEVEL and found.difference > 0):
        difference, span = markdown.changed(found, run.settings.report.decimals)
        yield Finding(
            Weight.DOUBT,
            f"who prefers the {'longer' if longer else 'shorter'} response, and knows nothing "
            f"else, is not shown to be worse: the policy's pair_acc differs by {difference} "
            f"({span}; {markdown.equal_p(found.p_value)})",
        )


def _rates(run: Run) -> Iterator[Finding]:
    settings, base = run.settings, run.scores["final"].context.get("base_model", "scratch")
    for found in (
        warning_of_rate("sft", settings.sft, base),
        warning_of_rate("train", settings.train, base),
    ):
        if found:
            yield Finding(Weight.DOUBT, found)


def _beta(run: Run) -> Iterator[Finding]:
    settings = run.settings
    if not settings.scoring.length_normalize or not settings.train.epochs:
        return
    reward = rewards(run.scores["final"], run.scores["sft"], True, settings.train.beta)
    size = mean(np.abs(np.subtract(*reward[run.scores["final"].index.pairs].T)))
    if size < STRAIGHT:
        yield Finding(
            Weight.NOTE,
            f"train.beta is {settings.train.beta:g} and scores are means over tokens: rewards of "
            f"the two responses differ by {size:.2g} on average, so the loss stays near ln 2 and "
            "hardly pulls back to the reference. Means want a beta some 10 to 100 times that of "
            "sums",
        )


CHECKS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    _likelihood,
    _length, _answers, _lengths, _rates, _pairs, _few, _beta,
)  # fmt: skip
