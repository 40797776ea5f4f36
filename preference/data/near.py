"""Texts that are nearly the same: for test dialogues that training data holds in other words.

Texts are compared without case, white space, punctuation and control characters, and with
compatible characters (full width, ligatures, composed or not) taken as one. What is left, as UTF-8,
is cut into all its runs of eight bytes, its shingles: about two English words, or nearly three
Chinese characters, so no script needs a rule of its own. Two texts are near where they share
`THRESHOLD` of the shingles that either has (their Jaccard similarity). MinHash proposes which to
compare, the comparison itself is exact: no false alarm, and a pair at the threshold is missed
with a chance of less than 1 in 1,000, one at 0.7 practically never.

What that means for dialogues, each a prompt with a response, as one text:

- `data.decontaminate: near`: put the dialogues of the test split into a `NearIndex`, and drop the
  training rows with a dialogue that `matches`. `exact` compares digests (`leakage`), `none` drops
  nothing. To count the test rows that had such a twin, put the dialogues that matched (they are
  few) into a second index, and ask it for the test dialogues: near is the same both ways.
- The same prompt with another answer: a second pair of indexes, of prompts alone. Count rows whose
  prompt is near and none of whose dialogues is: they show no test answer to training.
- A prompt is part of its dialogues. Where it is several times as long as the answers, dialogues
  that differ in the last answer alone are near, and so are a conversation and its next turn, whose
  prompt shows the earlier answer to training. (Of two fifths of hh-rlhf's rows, the two dialogues
  are near each other.)
- Texts from templates, as the demo's, are alike by construction, and some are near that share no
  fact. Of the demo, use `exact`.
"""

import sys
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from rensa import RMinHash, RMinHashLSH

# With one word in twenty replaced, 99 of 100 dialogues of hh-rlhf are 0.62 or more alike, with a
# typo in every hundred characters 0.65. Those that are not of one conversation are 0.37 at most;
# of the demo's training dialogues, from the same templates as its test, 3 in 1,000 are 0.6 or more.
THRESHOLD = 0.6
SHINGLE = 8  # bytes
# Sketches of 256 hashes in bands of 4: two texts that share s of their shingles are proposed with
# 1 - (1 - s^4)^64, which is 0.9998 at the threshold and 0.0004 at 0.05.
HASHES, BANDS, SEED = 256, 64, 1
# A sketch's own estimate is off by 0.03 (its standard deviation): four of them below the threshold
# nothing is compared exactly.
SLACK = 0.12
# Normalizing a long run of combining marks takes the square of its length, so: not too long ones.
SLICE = 1_000


class NearIndex:
    """Texts, to be asked whether others are near one of them.

    Memory: for each text added its normalized UTF-8 and 5 kB; and about 60 bytes for each byte of
    the one that is looked at, 200 while it is compared. Deterministic: no process, order or batch
    changes an answer. (A Python with newer Unicode tables may, for characters that they have
    added.)
    """

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._texts: list[tuple[bytes, RMinHash]] = []
        self._lsh = RMinHashLSH(THRESHOLD, HASHES, BANDS)

    def add(self, text: str) -> None:
        """Take a text in. One of which nothing is left is near none."""
        found = normalized(text)
        if not found or found in self._known:
            return
        sketch = _sketch(shingles(found))
        self._lsh.insert(len(self._texts), sketch)
        self._known.add(found)
        self._texts.append((found, sketch))

    def matches(self, texts: Sequence[str]) -> np.ndarray:
        """Whether each of the texts is near one that was added, as booleans `(texts,)`."""
        return np.array([self._matches(normalized(text)) for text in texts], bool)

    def _matches(self, text: bytes) -> bool:
        if not text or text in self._known:
            return bool(text)
        runs = shingles(text)
        sketch, own = _sketch(runs), set(runs)
        proposed = (self._texts[place] for place in self._lsh.query(sketch))
        return any(
            similarity(own, set(shingles(other))) >= THRESHOLD
            for other, its_sketch in proposed
            if sketch.jaccard(its_sketch) >= THRESHOLD - SLACK
        )


def normalized(text: str) -> bytes:
    """What is compared of a text: letters, marks, digits and symbols, without case, as UTF-8."""
    slices = (text[start : start + SLICE] for start in range(0, len(text), SLICE))
    composed = "".join(unicodedata.normalize("NFKC", part) for part in slices)
    return composed.casefold().translate(_dropped()).encode()


def shingles(text: bytes) -> list[bytes]:
    """All runs of `SHINGLE` bytes, a shorter text as its only one."""
    return [text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))]


def similarity(one: set[bytes], other: set[bytes]) -> float:
    """Jaccard similarity of two sets that are not both empty: common elements over all."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def _sketch(runs: list[bytes]) -> RMinHash:
    sketch = RMinHash(HASHES, SEED)
    sketch.update(runs)
    return sketch


@cache
def _dropped() -> dict[int, None]:
    """Separators, punctuation, control and format characters, and halves of surrogate pairs."""
    kinds = ("Z", "P", "Cc", "Cf", "Cs")
    every = range(sys.maxunicode + 1)
    return {i: None for i in every if unicodedata.category(chr(i)).startswith(kinds)}
