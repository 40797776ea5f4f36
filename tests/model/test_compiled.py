"""Compiled layers against the same layers as they are; distributed ones are in test_worlds."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import naive
import pytest
import sessions
import torch
from accelerate import Accelerator
from scorers import COMPILED, PACKED, with_gradient
from torch import Tensor
from torch._dynamo import config as tracing
from torch._dynamo import utils
from torch._inductor import config as inductor
from transformers import PreTrainedModel

from preference.core.optimization import Lora
from preference.model import batches, compiled, layers, logits, lora
from preference.model.abilities import Abilities
from preference.model.attention import fused
from preference.model.scorer import ResponseLogps, open_model
from preference.runtime import devices
from preference.runtime.session import Session

MAKE: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": naive.gpt2,
    "llama": partial(naive.llama, layers=5),
    "llama, attention in C++": partial(naive.llama, layers=5, head_dim=16),
}
PAIRS = naive.make_pairs(naive.random_texts(12), 30)


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    torch._dynamo.reset()
    logits._compiled.cache_clear()
    utils.counters.clear()
    # Of the library's own calls of what it has deprecated.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    logits._compiled.cache_clear()


def graphs() -> int:
    """How many were compiled in this process."""
    return int(utils.counters["stats"]["unique_graphs"])


def both(model: PreTrainedModel, *, checkpointing: bool = False) -> ResponseLogps:
    """A scorer whose layers can run in either way."""
    made = compiled.layers(model, Accelerator(cpu=True))
    if checkpointing:
        layers.checkpoint_gradients(model)
    return ResponseLogps(model, PACKED, compiled=made)


def found(
    scorer: ResponseLogps, abilities: Abilities, pairs: int, dtype: torch.dtype
) -> list[Tensor]:
    """The log-probabilities, and the gradients of all weights."""
    scorer.take(abilities)
    batch = batches.make(PAIRS, list(PAIRS.index.pairs[:pairs]), abilities.layout)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logps = scorer(batch)
    weights = [weight for weight in scorer.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(logps @ torch.linspace(-1, 2, len(logps)), weights)
    return [logps.detach(), *gradients]


def distance(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest error of a tensor, as a share of its size."""
    pairs = zip(ours, theirs, strict=True)
    return float(torch.stack([(one - other).norm() / other.norm() for one, other in pairs]).max())


@pytest.mark.parametrize("kind", MAKE)
def test_numbers_and_gradients_are_those_of_the_layers_as_they_are(kind: str) -> None:
    """In float32 to rounding; in bf16 as near to float32 as the layers come as they are."""
    scorer = both(MAKE[kind]())
    for dtype in (torch.float32, torch.bfloat16):
        before = graphs()
        for pairs in (6, 12):
            exact = found(scorer, PACKED, pairs, torch.float32)
            rounded = distance(found(scorer, PACKED, pairs, dtype), exact)
            off = distance(found(scorer, COMPILED, pairs, dtype), exact)
            assert off < max(2e-5, 1.5 * rounded)
            # Parts of a layer, of all alike and for all sizes, and two passes over the logits.
            assert 2 < graphs() - before < 8


def test_compiled_layers_have_attention_in_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, calls, attention = both(naive.llama(head_dim=16)), [], fused.attention

    def counted(*given: Any) -> Tensor:
        calls.append(given)
        return attention(*given)

    monkeypatch.setattr(fused, "attention", counted)
    monkeypatch.setattr(devices, "has_matrix_unit", lambda: False)
    for abilities, dtype in ((PACKED, torch.bfloat16), (COMPILED, torch.float32)):
        found(scorer, abilities, 6, dtype)
        assert not calls
    found(scorer, COMPILED, 6, torch.bfloat16)
    assert len(calls) == 2


def test_activations_that_are_not_kept_are_computed_again_compiled() -> None:
    # What is tried before attention in C++ is taken is not among them.
    fused.library.cache_clear()
    scorer = both(naive.llama(head_dim=16), checkpointing=True)
    before = graphs()
    expected = found(scorer, PACKED, 6, torch.float32)
    assert graphs() == before
    assert distance(found(scorer, COMPILED, 6, torch.float32), expected) < 2e-5
    assert graphs() > before
    rounded = found(scorer, PACKED, 6, torch.bfloat16)
    assert distance(found(scorer, COMPILED, 6, torch.bfloat16), rounded) < 0.1
    kept = found(both(naive.llama(head_dim=16)), PACKED, 6, torch.bfloat16)
    assert all(torch.equal(one, other) for one, other in zip(rounded, kept, strict=True))


def test_adapters_are_compiled_with_their_layers() -> None:
    scorer = both(naive.llama())
    lora.inject(scorer.model, Lora(r=2), 1, sessions.make().accelerator, "train.lora")
    # The second matrices begin at 0.
    for name, weight in scorer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    expected = found(scorer, PACKED, 6, torch.float32)
    assert distance(found(scorer, COMPILED, 6, torch.float32), expected) < 2e-5
    assert graphs() > 0


def test_dropout_draws_what_it_draws_otherwise() -> None:
    scorer = both(naive.gpt2()).train()
    expected = []
    for abilities in (PACKED, COMPILED):
        torch.manual_seed(4)
        expected.append(found(scorer, abilities, 6, torch.float32))
    assert distance(expected[1], expected[0]) < 2e-5
    assert distance(found(scorer, COMPILED, 6, torch.float32), expected[0]) > 0.1


def session(precision: str = "no") -> Session:
    made = sessions.make(precision=precision)
    runtime = made.runtime.model_copy(update={"compile": True})
    made.params = made.params.model_copy(update={"runtime": runtime})
    return made


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_models_are_opened_compiled_where_that_gives_their_numbers(
    precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    naive.llama().save_pretrained(tmp_path)
    opening = session(precision)
    with caplog.at_level(logging.INFO):
        assert open_model(tmp_path, PAIRS.longest, opening).abilities == COMPILED
    assert f"{tmp_path}: packed rows" in caplog.text
    assert "at scored positions only, compiled layers; the model's own numbers" in caplog.text
    assert graphs() > 0
    runtime, accelerator = opening.runtime, opening.accelerator
    sized = devices.tokens_per_batch(runtime, accelerator, compiled=True)
    assert opening.tokens_per_batch == sized


def test_without_a_compiler_layers_run_as_they_are_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    naive.llama().save_pretrained(tmp_path)
    opening = session()
    with caplog.at_level(logging.INFO), inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        scorer = open_model(tmp_path, PAIRS.longest, opening)
    assert scorer.abilities == PACKED
    assert "torch cannot compile here: InductorError: InvalidCxxCompiler: No work" in caplog.text
    assert f"{tmp_path}: runtime.compile: its layers run as they are" in caplog.text
    # Only compiled layers are worth micro-batches of another size.
    assert opening.tokens_per_batch == sessions.make().tokens_per_batch


@pytest.mark.parametrize(
    ("backward", "why"),
    [
        (
            lambda gradient: gradient / 2,
            r"differ by 0\.\d+ \(in gradients: an error of the compiler",
        ),
        (torch.linalg.inv, "A must be batches of square matrices"),
    ],
)
def test_gradients_that_are_not_the_model_s_are_found_before_it_trains(
    backward: Callable[[Tensor], Tensor],
    why: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    naive.llama().save_pretrained(tmp_path)
    made = compiled.layers
    monkeypatch.setattr(
        compiled, "layers", lambda *given: [with_gradient(x, backward) for x in made(*given)]
    )
    with caplog.at_level(logging.INFO):
        assert open_model(tmp_path, PAIRS.longest, session()).abilities == COMPILED
        trained = open_model(tmp_path, PAIRS.longest, session(), to_train=True)
    assert trained.abilities == PACKED
    assert re.search(rf"not compiled layers: .*{why}", caplog.text)


def test_where_torch_is_told_not_to_compile_nothing_is_said_to_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with tracing.patch(disable=True):
        assert compiled.layers(naive.llama(), Accelerator(cpu=True)) == []
    assert "torch cannot compile here: it is told not to (TORCHDYNAMO_DISABLE?)" in caplog.text


def test_layers_that_compute_something_else_compiled_are_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(forward: object, **_: object) -> object:
        return lambda states, *args, **kwargs: forward(1.001 * states, *args, **kwargs)  # type: ignore[operator]

    naive.llama().save_pretrained(tmp_path)
    monkeypatch.setattr(compiled, "_impossible", lambda _: "")
    monkeypatch.setattr(torch, "compile", wrong)
    with caplog.at_level(logging.INFO):
        scorer = open_model(tmp_path, PAIRS.longest, session())
    assert scorer.abilities == PACKED
    assert scorer.compiled
    assert not any(layer.on for layer in scorer.compiled)
    assert "not compiled layers: differ by" in caplog.text
    assert f"{tmp_path}: runtime.compile: its layers run as they are: see why above" in caplog.text
