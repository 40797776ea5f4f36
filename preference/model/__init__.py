"""A model, from its directory to log-probabilities and back."""

from preference.core.imports import without

with without("scipy", "transformers"):  # only its losses for detecting objects use it
    import transformers.modeling_utils  # noqa: F401
