"""Texts that stand where they should not: test dialogues in the training data, rows twice."""

from dataclasses import dataclass, field
from hashlib import blake2b

from preference.data.formats.example import Example


@dataclass
class Seen:
    """Digests of the prompts, dialogues (a prompt with a response) and rows of a split.

    Of 16 bytes, so that two texts are taken for the same only if they are. Four go into memory for
    each pair.
    """

    prompts: set[bytes] = field(default_factory=set)
    dialogues: set[bytes] = field(default_factory=set)
    rows: set[bytes] = field(default_factory=set)

    def add(self, example: Example) -> bool:
        """Take a row in; whether it was there already."""
        row = digest(example.prompt, *example.responses, repr(example.labels))
        if row in self.rows:
            return True
        self.rows.add(row)
        self.prompts.add(digest(example.prompt))
        self.dialogues.update(_dialogues(example))
        return False

    def has_prompt(self, example: Example) -> bool:
        return digest(example.prompt) in self.prompts

    def has_dialogue(self, example: Example) -> bool:
        """Whether one of the row's dialogues is in the split, as any response."""
        return any(dialogue in self.dialogues for dialogue in _dialogues(example))


def _dialogues(example: Example) -> list[bytes]:
    return list(map(digest, example.dialogues))


def digest(*texts: str) -> bytes:
    """16 bytes that tell texts from any others."""
    digest = blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode()
        # With its length, so that the border between two texts counts.
        digest.update(b"%d:%b" % (len(encoded), encoded))
    return digest.digest()
