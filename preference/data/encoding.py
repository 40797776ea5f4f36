"""Examples to token ids: laid out by a template, tokenized, cut to the length that a model sees."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from preference.core.data_params import Data
from preference.core.errors import InputError
from preference.data import templates, tokens
from preference.data.formats import hh
from preference.data.formats.example import Example, Turn, Unusable, UnusableError
from preference.data.truncation import keep, truncate
from preference.store.examples import Ragged
from preference.store.tables import OF_PAIRS, PREPARED, lists


class Encoded(NamedTuple):
    """Examples as ids.

    Attributes:
        batch: of `tables.PREPARED`.
        dropped: (examples,); why one of those given is not in it, else None.
        lost: (responses,); of each that is, tokens that were cut off, its prompt's among them.
        spelt: special tokens that were spelt in the examples.
        ended: responses that spelt the end of sequence at their end, which is there once.
    """

    batch: pa.RecordBatch
    dropped: list[Unusable | None]
    lost: np.ndarray
    spelt: int
    ended: int


class Encoder:
    """Encodes examples as params say.

    Args:
        own: the template that goes with the data.
        all_turns: find the assistant's earlier answers, too.
    """

    def __init__(
        self, loaded: tokens.Loaded, settings: Data, own: str, *, all_turns: bool = False
    ) -> None:
        self.template = templates.named(
            settings.template, own, loaded.chat_template, loaded.special
        )
        self.settings, self._eos_id = settings, loaded.eos_id
        self._eos = loaded.special["eos_token"]
        self._bos = tokens.bos(loaded.tokenizer) if settings.bos == "auto" else []
        self._spelt = tokens.Spelt(loaded.tokenizer, keep=settings.special_tokens == "keep")
        self._tokenizer = loaded.tokenizer
        self._refusal, self._all_turns = "", all_turns

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        if isinstance(self.template, templates.Chat):
            ids = tokens.encode(self._tokenizer, [self.template.end])[0]
            return int(ids[0]) if len(ids) else self._eos_id
        return self._eos_id

    def asked(self, turns: Sequence[Turn]) -> np.ndarray:
        """The ids that an answer to some turns is asked for with, (tokens,).

        Raises:
            UnusableError: the template refuses such turns.
        """
        text = turns[-1].content if self.template.name == "none" else None
        example, _, _ = self._hidden(Example(tuple(turns), (), text))
        return self._begun(self._spelt.encode([self.template.prompt(example)]))[0]

    def encode(
        self, rows: Sequence[int], examples: Sequence[Example], schema: pa.Schema = PREPARED
    ) -> Encoded:
        """Tokenize examples and cut them.

        Args:
            rows: of the raw table, where each comes from.
            schema: `tables.PREPARED`, perhaps with some columns of `tables.OF_PAIRS`.
        """
        hidden, spelt, ended = zip(*map(self._hidden, examples), strict=True)
        laid = [self._laid_out(row, one) for row, one in zip(rows, hidden, strict=True)]
        dropped = [one if isinstance(one, Unusable) else None for one in laid]
        texts = [one for one in laid if not isinstance(one, Unusable)]
        kept = [place for place, reason in enumerate(dropped) if reason is None]
        if not kept:
            none = pa.RecordBatch.from_pylist([], schema=schema)
            return Encoded(none, dropped, np.zeros(0), 0, 0)
        counts = np.array([len(responses) for _, responses in texts])
        prompts, responses = self._ids(texts, counts)
        asked = [one for one, reason in zip(hidden, dropped, strict=True) if reason is None]
        answers = [self._answers(*both) for both in zip(asked, prompts, strict=True)]
        limit, how = self.settings.max_length, self.settings.truncation
        opening = self._opening if how == "end" else 0
        cut = truncate(prompts, responses, counts, limit, how, (len(self._bos), opening))
        starts = np.cumsum(counts) - counts
        fits = np.add.reduceat(cut.lost, starts) == 0
        scorable = np.logical_and.reduceat(cut.kept + cut.responses.lengths >= 2, starts)
        fits |= how != "drop"
        used = scorable & fits
        for place, good, short in zip(kept, used, fits, strict=True):
            if not good:
                dropped[place] = Unusable.NO_TOKENS if short else Unusable.TOO_LONG
        shown = [examples[place] for place in kept]
        columns = {
            "row": [rows[place] for place in kept],
            "source": [e.source for e in shown],
            "labels": [e.labels or [None] * len(e.responses) for e in shown],
            "weights": [e.weights or [None] * len(e.responses) for e in shown],
            "chosen": [[chosen for chosen, _ in e.pairs] for e in shown],
            "rejected": [[rejected for _, rejected in e.pairs] for e in shown],
            "prompt_ids": _lists(cut.prompts),
            "response_ids": lists(_lists(cut.responses), counts),
            "prompt_tokens": lists(pa.array(cut.kept, pa.int32()), counts),
            "answers": [
                np.minimum(spans, len(ids) - len(self._bos)).ravel()
                for spans, ids in zip(answers, cut.prompts, strict=True)
            ],
            "prompt": [self._spelt.shown(prompt) for prompt, _ in texts],
            "turns": [[turn._asdict() for turn in e.turns] for e in shown],
            "responses": [e.responses for e in shown],
        }
        for name in OF_PAIRS.keys() & set(schema.names):
            columns[name] = [getattr(e, name) or [None] * len(e.pairs) for e in shown]
        batch = pa.RecordBatch.from_pydict(columns, schema=schema).filter(pa.array(used))
        lost = cut.lost[np.repeat(used, counts)]
        return Encoded(batch, dropped, lost, sum(spelt), sum(ended))

    def _hidden(self, example: Example) -> tuple[Example, int, int]:
        """An example whose texts spell no special token, how many did, and how often EOS ended."""
        stripped = tuple(response.removesuffix(self._eos) for response in example.responses)
        ended = sum(map(len, example.responses)) - sum(map(len, stripped))
        responses = [self._spelt.hidden(response) for response in stripped]
        turns = [self._spelt.hidden(turn.content) for turn in example.turns]
        text = (None, 0) if example.text is None else self._spelt.hidden(example.text)
        plain = example._replace(
            turns=tuple(
                turn._replace(content=content)
                for turn, (content, _) in zip(example.turns, turns, strict=True)
            ),
            responses=tuple(response for response, _ in responses),
            text=text[0],
        )
        said = turns if example.text is None else [text]
        return plain, sum(n for _, n in (*responses, *said)), ended // len(self._eos)

    def _laid_out(self, row: int, example: Example) -> tuple[str, list[str]] | Unusable:
        """The text of the prompt, and of each response, with the prompt where that is one whole."""
        if not all(response.strip() for response in example.responses):
            # Nothing but the end of sequence was spelt there.
            return Unusable.EMPTY_RESPONSE
        try:
            prompt = self.template.prompt(example)
            if not self.template.whole:
                return prompt, list(example.responses)
            wholes = [self.template.answered(example, text) for text in example.responses]
        except UnusableError as error:
            self._refusal = self._refusal or getattr(error, "said", "")
            return error.reason
        if not all(whole.startswith(prompt) for whole in wholes):
            raise InputError(
                f"row {row} of the raw table: the chat template lays out its prompt in another way "
                "where an answer follows, so that what is asked for in training would not be what "
                "is asked for in use; set data.template to a file with one that does not"
            )
        return prompt, wholes

    def _ids(
        self, texts: Sequence[tuple[str, list[str]]], counts: np.ndarray
    ) -> tuple[Ragged, Ragged]:
        """The ids of prompts and of responses."""
        prompts = self._spelt.encode([prompt for prompt, _ in texts])
        responses = self._spelt.encode([text for _, texts in texts for text in texts])
        if self.template.whole:
            shared = _shared(prompts, responses, counts)
            responses = keep(responses, 0, responses.lengths - np.repeat(shared, counts))
            prompts = keep(prompts, shared, 0)
        else:
            responses = tokens.append(responses, self._eos_id)
        return self._begun(prompts), responses

    def _answers(self, example: Example, prompt: np.ndarray) -> np.ndarray:
        """The assistant's earlier answers, (answers, 2): from where to where, from the end on."""
        if not self._all_turns:
            return np.zeros((0, 2), dtype=int)
        places = [i for i, turn in enumerate(example.turns) if turn.role == "assistant"]
        borders = [text for i in places for text in self.template.around(example, i)]
        found = self._begun(self._spelt.encode(borders))
        size = len(prompt)
        alike = [
            np.append(np.flatnonzero(ids[:size] != prompt[: len(ids)]), min(size, len(ids)))[0]
            for ids in found
        ]
        return size - np.array(alike, dtype=int).reshape(-1, 2)

    def _begun(self, prompts: Ragged) -> Ragged:
        """The prompts with what the tokenizer puts before a text, once."""
        bos = self._bos
        if not bos:
            return prompts
        rows = [row.tolist() for row in prompts]
        return tokens.ragged([row if row[: len(bos)] == bos else bos + row for row in rows])

    @property
    def refusal(self) -> str:
        """Why the template refused the first example that it did; empty where it took all."""
        return self._refusal

    @property
    def _opening(self) -> int:
        """Tokens at a prompt's end that open an answer."""
        if self.template.name == "hh":
            return len(tokens.encode(self._tokenizer, [hh.ASSISTANT])[0])
        if not isinstance(self.template, templates.Chat):
            return 0
        asked = [self.template.render([templates.ASKED], asks=asks) for asks in (False, True)]
        before, whole = tokens.encode(self._tokenizer, asked)
        return len(whole) - len(before)


def _shared(prompts: Ragged, wholes: Ragged, counts: np.ndarray) -> np.ndarray:
    """How many ids each prompt has in common with all that it begins, (prompts,).

    All of its own, unless a token reaches over the border to the answer: then that token is a part
    of the answer, and the ids of both are those of the whole text.
    """
    shared = prompts.lengths.copy()
    for place, prompt in enumerate(np.repeat(np.arange(len(counts)), counts).tolist()):
        size = min(shared[prompt], wholes.lengths[place])
        differ = np.flatnonzero(prompts[prompt][:size] != wholes[place][:size])
        shared[prompt] = differ[0] if len(differ) else size
    return shared


def _lists(rows: Ragged) -> pa.ListArray:
    return lists(pa.array(rows.values), rows.lengths)
