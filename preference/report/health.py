"""Whether a run worked: learned or not, collapsed or not, and what makes its numbers mean less."""

import logging
import math
from dataclasses import dataclass

from preference.evaluation.statistics import Difference
from preference.report import comparison, markdown
from preference.report.findings import CHECKS, LEVEL, Finding, Run, Weight

NOTHING = "Nothing to compare"


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

    Learned is what `pair_acc` says, by the exact paired test against the baseline at the 5% level,
    or, where there are no pairs, the AUC by DeLong's. Nothing that is broken is called learned.
    """
    findings = sorted((found for check in CHECKS for found in check(run)), key=lambda f: -f.weight)
    metric, gain = next(iter(run.compared["baseline", "final"].items()))
    if math.isnan(gain.difference):
        word, sentence = NOTHING, _nothing(run)
    else:
        word, sentence = _learned(run, metric, gain)
    if any(found.weight == Weight.BROKEN for found in findings):
        numbers = "accuracies are no success, whatever they are"
        if metric == "auc":
            numbers = "AUC is no success, whatever it is"
        return Health("Broken", f"The {numbers}. {sentence}", findings)
    if word == "Learned" and any(found.weight == Weight.DOUBT for found in findings):
        word = "Learned, with doubts"
    return Health(word, sentence, findings)


def _nothing(run: Run) -> str:
    tested = comparison.tested(run.scores["final"].index)
    return (
        f"There are {tested}, and no pairs: without both labels there is nothing to compare models "
        "by."
    )


def _learned(run: Run, metric: str, gain: Difference) -> tuple[str, str]:
    last, first = run.titles["final"], run.titles["baseline"]
    decimals, index = run.settings.report.decimals, run.scores["final"].index
    added = run.compared["sft", "final"][metric]

    def told(found: Difference) -> str:
        change = markdown.number(found.difference, decimals, signed=True)
        span = markdown.interval(found.low, found.high, decimals, signed=True)
        return f"{change} ({span}; {markdown.equal_p(found.p_value)})"

    sentence = (
        f"On {comparison.tested(index)} {last} changes {metric} by {told(gain)} against the {first}"
    )
    sentence += f"; {run.objective.title} alone by {told(added)} against {run.titles['sft']}."
    if gain.p_value < LEVEL:
        word = "Learned" if gain.difference > 0 else "Worse than before"
    else:
        word = (
            f"Nothing learned that these test {'pairs' if len(index.pairs) else 'responses'} show"
        )
        if math.isfinite(gain.low):
            sentence += f" They show a change of {_detectable(gain):.2f} or more, as a rule."
    if word == "Learned" and not (added.p_value < LEVEL and added.difference > 0):
        sentence += f" That {run.objective.title} adds to SFT is not shown."
    return word, sentence


def _detectable(gain: Difference) -> float:
    """The change that is found with a power of 80%: (1.96 + 0.84) standard errors."""
    return 2.8 * (gain.high - gain.low) / (2 * 1.96)
