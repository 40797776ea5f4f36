"""Whether a run worked: learned or not, collapsed or not, and what makes its numbers mean less."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from preference.core.params import Params, warning_of_rate
from preference.evaluation.statistics import Difference, share_interval
from preference.objectives.objective import Objective
from preference.report import markdown
from preference.report.comparison import Comparison
from preference.store.scores import Scores, mean, rewards

LEVEL = 0.05  # of the test of what was learned
# Nats that the chosen responses' tokens lose on average, against the model before: from these on it
# is a note, a doubt, a collapse. At -2 a token has an eighth of the probability that it had.
FALLS = (-0.5, -1.0, -2.0)
GRAM = 8  # characters
REPEATED = 0.75  # share of an answer's pieces of so many characters that were there before
FEW_TEST_PAIRS, FEW_STEPS = 100, 20
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
        scores: of the test pairs, by `baseline`, `sft` and `final`.
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


@dataclass(frozen=True)
class Health:
    """The verdict on a run: a word, a sentence, and what else is to be known, the worst first."""

    word: str
    sentence: str
    findings: list[Finding]

    def lines(self) -> list[str]:
        """As Markdown."""
        found = [f"- {f.weight.name.lower()}: {f.text}." for f in self.findings]
        return [f"**{self.word}.** {self.sentence}", *[""] * bool(found), *found]

    def log(self) -> None:
        """Say it, as loud as it is."""
        levels = {Weight.NOTE: logging.INFO, Weight.DOUBT: logging.WARNING}
        for found in self.findings:
            logging.log(levels.get(found.weight, logging.ERROR), "%s", found.text)
        good = self.word == "Learned"
        logging.log(logging.INFO if good else logging.WARNING, "%s. %s", self.word, self.sentence)


def judge(run: Run) -> Health:
    """What may be said of a run.

    Learned is what `pair_acc` says, by the exact paired test against the baseline at the 5% level.
    Nothing that is broken is called learned.
    """
    findings = sorted((found for check in CHECKS for found in check(run)), key=lambda f: -f.weight)
    gain = run.compared["baseline", "final"]["pair_acc"]
    word, sentence = _learned(run, gain)
    if any(found.weight == Weight.BROKEN for found in findings):
        return Health(
            "Broken", f"The accuracies are no success, whatever they are. {sentence}", findings
        )
    if word == "Learned" and any(found.weight == Weight.DOUBT for found in findings):
        word = "Learned, with doubts"
    return Health(word, sentence, findings)


def _learned(run: Run, gain: Difference) -> tuple[str, str]:
    last, first = run.titles["final"], run.titles["baseline"]
    decimals, pairs = run.settings.report.decimals, len(run.scores["final"].index.pairs)
    added = run.compared["sft", "final"]["pair_acc"]

    def told(found: Difference) -> str:
        change = markdown.number(found.difference, decimals, signed=True)
        span = markdown.interval(found.low, found.high, decimals, signed=True)
        return f"{change} ({span}; p {_p(found.p_value)})"

    sentence = f"Of {pairs:,} test pairs {last} tells apart {told(gain)} against the {first}"
    sentence += f"; {run.objective.title} alone {told(added)} against {run.titles['sft']}."
    if gain.p_value < LEVEL:
        word = "Learned" if gain.difference > 0 else "Worse than before"
    else:
        word = "Nothing learned that these test pairs show"
        if pairs > 1:
            sentence += f" They show a change of {_detectable(gain):.2f} or more, as a rule."
    if word == "Learned" and not (added.p_value < LEVEL and added.difference > 0):
        sentence += f" That {run.objective.title} adds to SFT is not shown."
    return word, sentence


def _p(value: float) -> str:
    text = markdown.p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _detectable(gain: Difference) -> float:
    """The change that is found with a power of 80%: (1.96 + 0.84) standard errors."""
    return 2.8 * (gain.high - gain.low) / (2 * 1.96)


def _likelihood(run: Run) -> Iterator[Finding]:
    """What training did to the likelihood of the chosen responses, for the loss sees only pairs."""
    final, sft = run.scores["final"], run.scores["sft"]
    ratios = rewards(final, sft, normalize=True, beta=1)[final.index.pairs]
    chosen, rejected = map(mean, ratios.T)
    reached = [weight for weight, fall in zip(Weight, FALLS, strict=True) if chosen <= fall]
    if reached:
        collapsed = "The policy has collapsed: " if reached[-1] == Weight.BROKEN else ""
        yield Finding(
            reached[-1],
            f"{collapsed}{run.objective.title} made a token of the chosen responses less likely by "
            f"{-chosen:.2f} nats on average ({np.exp(chosen):.2g} times as likely; rejected "
            f"responses: {rejected:+.2f} nats). A lower learning rate or a higher beta keeps it "
            "closer to the reference",
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
    same, before = (len(texts) - len(set(texts)) for texts in (policy, sft))
    if 2 * same >= len(policy) and 2 * before < same and 2 * loops < len(policy):
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
        pairs, rows = counts["pairs"], counts["rows_read"]
        cut, skipped = counts["truncated_pairs"], sum(counts["skipped"].values())
        if asked and pairs < asked:
            yield Finding(
                Weight.DOUBT if pairs < 0.9 * asked else Weight.NOTE,
                f"{pairs:,} {split} pairs, where data.{'train' if split == 'train' else 'eval'}"
                f"_pairs asks for {asked:,}: the data have no more",
            )
        for count, of, what in (
            (cut, pairs, "pairs were cut to data.max_length"),
            (
                skipped,
                rows,
                "rows were skipped as unusable; results/metrics/prepare.json says why",
            ),
        ):
            if 2 * count > of:
                yield Finding(Weight.DOUBT, f"{count:,} of {of:,} {split} {what}")


def _few(run: Run) -> Iterator[Finding]:
    pairs = run.scores["final"].index.pairs
    if (n := len(pairs)) < FEW_TEST_PAIRS:
        half = share_interval(np.arange(n) < n // 2)
        yield Finding(
            Weight.DOUBT,
            f"only {n} test pairs: an accuracy of one half is known to lie between {half.low:.2f} "
            f"and {half.high:.2f}, no better",
        )
    train, title = run.settings.train, run.objective.title
    examples = run.prepared["train"]["pairs"] * run.objective.examples
    steps = train.epochs * math.ceil(examples / (train.batch_size * train.grad_accum_steps))
    if steps < FEW_STEPS:
        yield Finding(Weight.DOUBT, f"only {steps} steps of {title}, some of them warm-up")


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
    _likelihood, _answers, _lengths, _rates, _pairs, _few, _beta,
)  # fmt: skip
