"""Texts that stand where they should not: test dialogues in the training data, pairs twice."""

from dataclasses import dataclass, field
from hashlib import blake2b

from preference.transcripts import Pair


@dataclass
class Seen:
    """Digests of the prompts, dialogues (a prompt with a response) and pairs of a split.

    Of 16 bytes, so that two texts are taken for the same only if they are. Four go into memory for
    each pair.
    """

    prompts: set[bytes] = field(default_factory=set)
    dialogues: set[bytes] = field(default_factory=set)
    pairs: set[bytes] = field(default_factory=set)

    def add(self, pair: Pair) -> bool:
        """Take a pair in; whether it was there already."""
        digest = _digest(*pair)
        if digest in self.pairs:
            return True
        self.pairs.add(digest)
        self.prompts.add(_digest(pair.prompt))
        self.dialogues.update(_dialogues(pair))
        return False

    def has_prompt(self, pair: Pair) -> bool:
        return _digest(pair.prompt) in self.prompts

    def has_dialogue(self, pair: Pair) -> bool:
        """Whether one of the pair's two dialogues is in the split, as either response."""
        return any(dialogue in self.dialogues for dialogue in _dialogues(pair))


def _dialogues(pair: Pair) -> tuple[bytes, bytes]:
    # Whole: where a prompt ends is told by what the pair's other dialogue shares with this one.
    return _digest(pair.prompt + pair.chosen), _digest(pair.prompt + pair.rejected)


def _digest(*texts: str) -> bytes:
    digest = blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode()
        # With its length, so that the border between two texts counts.
        digest.update(b"%d:%b" % (len(encoded), encoded))
    return digest.digest()
