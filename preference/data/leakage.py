"""Texts that stand where they should not: test dialogues in the training data, rows twice."""

import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from tempfile import SpooledTemporaryFile
from typing import IO, Literal

import numpy as np

from preference.core.lock import LOCKS
from preference.data.formats.example import Example

Kind = Literal["rows", "prompts", "dialogues"]
# A digest, its first bytes as a number, and the example that it is of.
RECORD = np.dtype(
    {
        "names": ["digest", "first", "example"],
        "formats": ["S16", "<u4", "<u4"],
        "offsets": [0, 0, 16],
    }
)
PACKED = struct.Struct("<16sI")
TOGETHER = 2**19  # records that are compared at a time
IN_MEMORY = 2**22  # bytes of a file, before it goes to disk


class Seen:
    """What a split holds: digests of its rows, prompts, and dialogues (a prompt with a response).

    Of 16 bytes, so that two texts are taken for the same only if they are: among a hundred million
    pairs, another thing would happen once in 10^22 times. They lie in files without a name, which
    take 80 bytes a pair and end with the program; in memory are as many as are compared at a time.
    """

    def __init__(self) -> None:
        LOCKS.mkdir(exist_ok=True)
        self.examples = 0
        self._files: dict[Kind, IO[bytes]] = {
            kind: SpooledTemporaryFile(IN_MEMORY, dir=str(LOCKS))  # noqa: SIM115 (they stay open)
            for kind in ("rows", "prompts", "dialogues")
        }

    def add(self, example: Example) -> None:
        """Take a row in."""
        self._write("rows", [digest(example.prompt, *example.responses, repr(example.labels))])
        self._write("prompts", [digest(example.prompt)])
        self._write("dialogues", dialogues(example))
        self.examples += 1

    def _write(self, kind: Kind, digests: Iterable[bytes]) -> None:
        for found in digests:
            self._files[kind].write(PACKED.pack(found, self.examples))

    @property
    def duplicates(self) -> int:
        """How many rows were there already when they came."""
        parts = _alike(self._files["rows"])
        return self.examples - sum(len(np.unique(rows["digest"])) for (rows,) in parts)

    def also_in(self, other: "Seen", kind: Kind) -> int:
        """How many rows have a prompt, or one of their dialogues, that another split has.

        A dialogue counts as any response's.
        """
        found = np.zeros(self.examples, dtype=bool)
        for own, theirs in _alike(self._files[kind], other._files[kind]):
            found[own["example"][np.isin(own["digest"], theirs["digest"])]] = True
        return int(found.sum())


def _alike(*files: IO[bytes]) -> Iterator[list[np.ndarray]]:
    """Of each file the records of which those that are equal come together, part by part."""
    largest = max(file.seek(0, 2) for file in files) // RECORD.itemsize
    count = max(1, -(-largest // TOGETHER))
    for number in range(count):
        yield [
            np.concatenate([part[part["first"] % count == number] for part in _records(file)])
            for file in files
        ]


def _records(file: IO[bytes]) -> Iterator[np.ndarray]:
    yield np.zeros(0, RECORD)
    file.seek(0)
    while part := file.read(TOGETHER * RECORD.itemsize):
        yield np.frombuffer(part, RECORD)


def dialogues(example: Example) -> list[bytes]:
    """The digests of an example's dialogues."""
    return list(map(digest, example.dialogues))


def digest(*texts: str) -> bytes:
    """16 bytes that tell texts from any others."""
    digest = blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode()
        # With its length, so that the border between two texts counts.
        digest.update(b"%d:%b" % (len(encoded), encoded))
    return digest.digest()
