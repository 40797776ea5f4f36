"""Which rows of the training data are trained on, held out for validation, or left out."""

from collections.abc import Callable, Iterator
from functools import partial

from preference.core.data_params import Data
from preference.data.formats.example import Example, Unusable
from preference.data.leakage import dialogues, digest
from preference.data.prepare import RawTable

Judge = Callable[[Example], Unusable | bool]


def judges(train: RawTable, test: RawTable, settings: Data) -> dict[str, Judge]:
    """What says, for each split, whether an example belongs to it, or why it is not to be used."""
    held, leak = _held_out(train, settings), _leak(test, settings)

    def training(example: Example, *, validates: bool) -> Unusable | bool:
        here = (_dialogue(example) in held) == validates
        return here and (leak(example) or True)

    return {
        "train": partial(training, validates=False),
        "test": lambda example: True,
        "validation": partial(training, validates=True),
    }


def _leak(test: RawTable, settings: Data) -> Callable[[Example], Unusable | None]:
    """What says why an example shows test data to training, if it does."""
    if settings.decontaminate == "none":
        return lambda example: None
    shown, near = set[bytes](), None
    if settings.decontaminate == "near":
        # Few want it.
        from preference.data.near import NearIndex

        near = NearIndex()
    for _, example in test.examples():
        if isinstance(example, Example):
            shown.update(dialogues(example))
            if near is not None:
                for text in example.dialogues:
                    near.add(text)

    def leak(example: Example) -> Unusable | None:
        if not shown.isdisjoint(dialogues(example)):
            return Unusable.IN_TEST
        is_near = near is not None and near.matches(example.dialogues).any()
        return Unusable.NEAR_TEST if is_near else None

    return leak


def _held_out(train: RawTable, settings: Data) -> set[bytes]:
    """The dialogues that are for validation: as many as hold the pairs asked for.

    Drawn by their digests from those that come first, so that a dialogue that goes on in several
    rows, or has several pairs, stands on one side.
    """
    if not settings.validation_pairs:
        return set()
    sizes: dict[bytes, int] = {}
    left = (
        None if settings.train_pairs is None else settings.train_pairs + settings.validation_pairs
    )
    last = b"\xff" * 16
    for _, example in train.examples():
        if isinstance(example, Example):
            size = len(example.pairs) or 1
            key = _dialogue(example)
            if key <= last:
                sizes[key] = sizes.get(key, 0) + size
            # What is behind enough of them is never held out, however it goes on.
            if len(sizes) > 2 * settings.validation_pairs:
                sizes = {key: sizes[key] for key in _first(sizes, settings.validation_pairs)}
                last = max(sizes)
            left = None if left is None else left - size
            if left is not None and left <= 0:
                break
    return set(_first(sizes, settings.validation_pairs))


def _first(sizes: dict[bytes, int], wanted: int) -> Iterator[bytes]:
    """The digests that come first, until they hold as many pairs as are wanted."""
    pairs = 0
    for key in sorted(sizes):
        if pairs >= wanted:
            break
        yield key
        pairs += sizes[key]


def _dialogue(example: Example) -> bytes:
    """A dialogue by its first question, since it may go on in several rows."""
    asked = next((turn.content for turn in example.turns if turn.role == "user"), example.prompt)
    return digest(asked.strip())
