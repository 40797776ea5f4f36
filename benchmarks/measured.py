"""What one run of one system gives."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Seconds of work on all pairs and epochs, loading and start-up not counted.

    Attributes:
        seconds: training, or scoring.
        reference_seconds: scoring the reference ahead of training, once for all epochs.
    """

    seconds: float
    reference_seconds: float = 0.0
