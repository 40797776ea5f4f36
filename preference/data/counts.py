"""What became of a split's rows: counted for people, and for `prepare.json`."""

from bisect import insort
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from preference.core.errors import InputError
from preference.data.encoding import Encoded
from preference.data.formats.example import Example, Unusable
from preference.data.leakage import Seen
from preference.store.index import Index
from preference.store.tables import INDEX, flat

SKIPPED_ROWS_NAMED = 20


@dataclass
class Counts:
    """What became of one split; tokens are as kept, EOS included.

    In `chosen_longer` pairs the preferred response has more tokens, in `rejected_longer` the other.
    `truncated_pairs` lost tokens of the prompt, or of a response, to `max_length`, in all
    `truncated_tokens`; `skipped_rows` names the first skipped rows of the source.
    `labelled_responses` are in no pair. The prompts of `common_prefix` rows are a guess: what two
    texts begin with alike. `special_tokens` were spelt in texts and stay text there, and
    `ended_responses` spelt the end of sequence, which every response has once.
    `identical_responses` counts pairs that prefer a text to itself, `duplicates` rows that came
    before; both stay in. The last two count rows whose prompt, and of which a whole dialogue,
    stands in the training split, too.
    """

    format: str = ""
    template: str = ""
    rows_read: int = 0
    pairs: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_rows: list[int] = field(default_factory=list)
    truncated_pairs: int = 0
    prompt_tokens: int = 0
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    chosen_longer: int = 0
    rejected_longer: int = 0
    truncated_tokens: int = 0
    common_prefix: int = 0
    special_tokens: int = 0
    ended_responses: int = 0
    identical_responses: int = 0
    duplicates: int = 0
    prompts_in_train: int | None = None
    dialogues_in_train: int | None = None
    labelled_responses: int | None = None
    truncated_labelled: int | None = None

    @property
    def examples(self) -> int:
        """What `data.train_pairs` counts: pairs, and labelled responses that are in none."""
        return self.pairs + (self.labelled_responses or 0)

    def look_at(self, example: Example) -> None:
        """Count what the texts of an example tell."""
        responses = example.responses
        self.common_prefix += example.by_common_prefix
        self.identical_responses += sum(responses[a] == responses[b] for a, b in example.pairs)

    def compare(self, seen: Seen, train: Seen | None) -> None:
        """Count what the whole split has twice, and in common with the training split."""
        self.duplicates = seen.duplicates
        if train is not None:
            self.prompts_in_train = seen.also_in(train, "prompts")
            self.dialogues_in_train = seen.also_in(train, "dialogues")

    def measure(self, encoded: Encoded) -> None:
        """Count the tokens of a batch, and what was cut."""
        found = flat(encoded.batch, [*INDEX, "prompt_ids", "response_ids"])
        index, (_, lengths, _) = Index.of_columns(found), found["response_ids"]
        cut, (chosen, rejected) = encoded.lost > 0, index.pairs.T
        self.pairs += len(index.pairs)
        self.truncated_pairs += int((cut[chosen] | cut[rejected]).sum())
        self.truncated_tokens += int(encoded.lost.sum())
        self.prompt_tokens += int(found["prompt_ids"][0].sum())
        self.chosen_tokens += int(lengths[chosen].sum())
        self.rejected_tokens += int(lengths[rejected].sum())
        self.chosen_longer += int((lengths[chosen] > lengths[rejected]).sum())
        self.rejected_longer += int((lengths[chosen] < lengths[rejected]).sum())
        self.special_tokens += encoded.spelt
        self.ended_responses += encoded.ended
        labelled = np.flatnonzero(index.labels >= 0)
        if len(labelled):
            self.labelled_responses = (self.labelled_responses or 0) + len(labelled)
            self.truncated_labelled = (self.truncated_labelled or 0) + int(cut[labelled].sum())

    def skip(self, row: int, reason: Unusable) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        # Rows without tokens are known only after the rest of their batch.
        insort(self.skipped_rows, row)
        del self.skipped_rows[SKIPPED_ROWS_NAMED:]

    def describe(self) -> str:
        reasons = ", ".join(f"{count} {name}" for name, count in self.skipped.items() if count)
        labelled = f" and {self.labelled_responses} labelled responses"
        return (
            f"{self.pairs} pairs{labelled if self.labelled_responses else ''} of {self.rows_read} "
            f"rows read, format {self.format}, template {self.template}; skipped: "
            f"{reasons or 'none'}"
        )

    def require_prompts(self, path: Path) -> None:
        """Refuse data of which most prompts are a guess; `path` is the raw table."""
        if 2 * self.common_prefix > self.examples:
            raise InputError(
                f"{path}: {self._guessed}. If they are dialogues in another layout, or answers "
                "without their prompt, bring messages, or a column with the prompt; if this is "
                "meant, set data.format: dialogues"
            )

    def warnings(self, wanted: int | None) -> Iterator[str]:
        """What somebody who trains on the split should know; `wanted` is what was asked for."""
        if wanted is not None and self.examples < wanted:
            yield f"has {self.examples} examples, fewer than the {wanted} asked for"
        if self.common_prefix:
            yield self._guessed
        if self.dialogues_in_train:
            yield (
                f"{self.dialogues_in_train} of the {self.examples} examples have a dialogue that "
                "the training data have, too"
            )
        cut = self.truncated_pairs + (self.truncated_labelled or 0)
        if 2 * cut > self.examples:
            yield (
                f"most examples are cut: {cut} of {self.examples} lose tokens to data.max_length, "
                f"{self.truncated_tokens} in all; raise it, or choose data.truncation"
            )
        if self.special_tokens:
            yield f"{self.special_tokens} special tokens are spelt in its texts, and stay text"

    @property
    def _guessed(self) -> str:
        return (
            f"{self.common_prefix} of {self.examples} examples have no Assistant: marker where "
            "both dialogues answer, so their prompt is what the two texts begin with alike"
        )

    def as_dict(self) -> dict[str, object]:
        """For a metrics file; what was not counted is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}
