"""What one run of one system gives."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Seconds of work on all pairs and epochs, loading and start-up not counted.

    Attributes:
        seconds: training, or scoring.
        reference_seconds: scoring the reference ahead of training, once for all epochs.
        opening_seconds: loading a model and finding out what is exact for it, where that is known.
        later_seconds: training's epochs after the first, where that is known.
    """

    seconds: float
    reference_seconds: float = 0.0
    opening_seconds: float = 0.0
    later_seconds: float = 0.0
