"""Which shortcuts are granted, and that those give plain transformers' numbers ever after."""

import copy
import logging
import re
from collections.abc import Callable
from pathlib import Path

import naive
import numpy as np
import pytest
import sessions
import torch
from settings import train
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Cohere2Config,
    Cohere2ForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from preference.evaluation.metrics import both_ways
from preference.evaluation.scoring import score
from preference.model import batches, probe
from preference.model.abilities import PLAIN, Abilities
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps, open_model
from preference.objectives import sft
from preference.store.examples import Examples
from preference.store.scores import Metrics
from preference.training import loop

LENGTH, WINDOW = 40, 8
# Of the usual small fresh weights, on which little shows.
SIZE = {key: value for key, value in naive.LLAMA_SIZE.items() if key != "initializer_range"}
HEADS = {"head_dim": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GPT = {"vocab_size": naive.VOCABULARY, "n_layer": 2, "n_head": 4}
# The fused experts know no float64.
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "eager"}
PACKED, SHARED = (Abilities(layout, bare_output=True) for layout in ("packed", "shared"))
BARE = Abilities("plain", bare_output=True)
Make = Callable[[], PreTrainedModel]

ARCHITECTURES: dict[str, tuple[Make, Abilities, Layout]] = {
    # What is granted on a CPU, and which layout where rows are not packed.
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(**GPT, n_embd=16)), PACKED, "shared"),
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**SIZE)), PACKED, "shared"),
    "qwen2": (lambda: Qwen2ForCausalLM(Qwen2Config(**SIZE)), PACKED, "shared"),
    "neox": (
        lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZE)),
        PACKED,
        "shared",
    ),
    "phi": (lambda: PhiForCausalLM(PhiConfig(**SIZE)), PACKED, "shared"),
    "opt": (
        lambda: OPTForCausalLM(OPTConfig(**SIZE, ffn_dim=32, word_embed_proj_dim=16)),
        PACKED,
        "shared",
    ),
    "granite, scaled logits": (
        lambda: GraniteForCausalLM(GraniteConfig(**SIZE, logits_scaling=8.0)),
        Abilities("packed", bare_output=False),
        "shared",
    ),
    "cohere, scaled logits": (
        lambda: CohereForCausalLM(CohereConfig(**SIZE)),
        Abilities("packed", bare_output=False),
        "shared",
    ),
    "cohere2, scaled logits and a window": (
        lambda: Cohere2ForCausalLM(Cohere2Config(**SIZE, head_dim=4, sliding_window=WINDOW)),
        PLAIN,
        "plain",
    ),
    "gemma2, soft caps and a window": (
        lambda: Gemma2ForCausalLM(Gemma2Config(**SIZE, **HEADS, sliding_window=WINDOW)),
        PLAIN,
        "plain",
    ),
    "gemma3, a window": (
        lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZE, **HEADS, sliding_window=WINDOW)),
        BARE,
        "plain",
    ),
    "mistral, a window": (
        lambda: MistralForCausalLM(MistralConfig(**SIZE, sliding_window=WINDOW)),
        BARE,
        "plain",
    ),
    "mistral, a window that all fits into": (
        lambda: MistralForCausalLM(MistralConfig(**SIZE, sliding_window=LENGTH)),
        SHARED,
        "shared",
    ),
    "mpt, biases by distance": (
        lambda: MptForCausalLM(MptConfig(vocab_size=97, d_model=16, n_heads=4, n_layers=2)),
        BARE,
        "plain",
    ),
    "bloom, biases by distance": (
        lambda: BloomForCausalLM(BloomConfig(**GPT, hidden_size=16)),
        BARE,
        "plain",
    ),
    "gpt-oss, sinks and a window": (
        lambda: GptOssForCausalLM(GptOssConfig(**SIZE, **EXPERTS, head_dim=4, sliding_window=8)),
        BARE,
        "plain",
    ),
}


def fresh(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return ARCHITECTURES[name][0]().eval()


def chosen(model: PreTrainedModel, precision: str = "no") -> Abilities:
    return probe.choose(ResponseLogps(model, PLAIN), LENGTH, "the model", precision)


def texts() -> Examples:
    """Pairs of many lengths, the longest of them `LENGTH`."""
    pairs = naive.make_pairs(naive.random_texts(12, longest=25), LENGTH)
    assert pairs.longest == LENGTH
    return pairs


def scored(model: PreTrainedModel, pairs: Examples, abilities: Abilities) -> Tensor:
    batch = batches.make(pairs, list(pairs.index.pairs), abilities.layout)
    return ResponseLogps(model, abilities)(batch)


def trained(model: PreTrainedModel, pairs: Examples) -> None:
    """Some steps at a high rate, the plain way."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(5):
        optimizer.zero_grad()
        (-scored(model, pairs, PLAIN).mean()).backward()
        optimizer.step()


def ten_times(model: PreTrainedModel) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_granted_gives_plain_transformers_numbers_ever_after(name: str) -> None:
    _, expected, beside = ARCHITECTURES[name]
    assert chosen(fresh(name)) == expected
    pairs = texts()
    for granted in {expected, Abilities(beside, expected.bare_output)}:
        model = fresh(name)
        for change in (lambda model, pairs: None, trained, lambda model, _: ten_times(model)):
            change(model, pairs)
            # What is compared is the function, not how training amplifies rounding.
            wide = copy.deepcopy(model).double()
            reference = naive.score(wide, pairs)
            with torch.no_grad():
                found = scored(wide, pairs, granted)
            np.testing.assert_allclose(found, reference.logps, rtol=1e-5)


def test_a_model_without_weights_is_measured_as_it_is_after_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cap at 30 does nothing to the logits of fresh weights, much to those of trained ones."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = Gemma2Config(**SIZE, **HEADS, final_logit_softcapping=30.0)
    Gemma2ForCausalLM(config).save_pretrained("base")
    session, pairs = sessions.make(), texts()
    scorer = open_model(Path("base"), pairs.longest, session, to_train=True)
    measured: list[Metrics] = []

    def measure(model: nn.Module) -> Metrics:
        measured.append(both_ways(score(model, pairs, session, "t")))
        return measured[-1]

    loop.fit(
        scorer,
        sft.task(pairs),
        train(epochs=30, learning_rate=0.1, batch_size=12),
        session,
        curves=Path("curves"),
        evaluate=measure,
    )
    plain = both_ways(naive.score(scorer.model.eval(), pairs))
    assert measured[-1] == pytest.approx(plain, rel=1e-4)
    with torch.no_grad():
        uncapped = scored(scorer.model, pairs, BARE)
        capped = scored(scorer.model, pairs, PLAIN)
    assert (uncapped - capped).abs().max() > 1


def ignoring_positions() -> PreTrainedModel:
    """Rotary positions by place in the row, whatever is asked for."""
    model = fresh("llama")
    rotary = model.model.rotary_emb
    usual = rotary.forward
    rotary.forward = lambda x, position_ids: usual(x, torch.arange(x.shape[1])[None])
    return model


def test_positions_are_tried_on_weights_that_hardly_look_at_them() -> None:
    assert chosen(ignoring_positions()) == BARE


def test_a_fault_of_one_precision_counts_in_that_precision(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        side_by_side = output.shape[0] * output.shape[1] > LENGTH
        return output * (0 if side_by_side and torch.is_autocast_enabled("cpu") else 1)

    model = fresh("llama")
    model.model.layers[0].register_forward_hook(broken)
    with caplog.at_level(logging.INFO):
        assert chosen(model, "no") == PACKED
        assert chosen(model, "bf16") == PLAIN
    assert " in bf16 (a window, a bias by distance?)" in caplog.text


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bf16_is_granted_what_float32_is(name: str) -> None:
    assert chosen(fresh(name), "bf16") == ARCHITECTURES[name][1]


TOLD = {
    "gpt2": r"the model: packed rows, output layer at scored positions only; "
    r"the model's own numbers to \de-0[678]",
    "gemma2, soft caps and a window": r"the model: plain rows, all logits; not output layer at "
    r"scored positions only: differ by [\d.]+ \(a soft cap, scaled logits\?\); "
    r"not shared prompts: its attention is eager",
    "mistral, a window": r"the model: plain rows, output layer at scored positions only; the "
    r"model's own numbers to \de-0[678]; not packed rows: NotImplementedError: attention by row "
    r"knows nothing of \['sliding_window'\]; not shared prompts: differ by [\d.]+ "
    r"\(a window, a bias by distance\?\)",
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_chosen_is_told_in_one_line_and_why(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        chosen(fresh(name))
    (record,) = caplog.records
    assert re.fullmatch(TOLD[name], record.getMessage())


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), KeyError("x")]
)
def test_other_errors_are_not_taken_for_an_answer(error: Exception) -> None:
    def fail(module: nn.Module, inputs: object, output: Tensor) -> None:
        if output.shape[1] > LENGTH:
            raise error

    model = fresh("llama")
    model.model.layers[0].register_forward_hook(fail)
    with pytest.raises(type(error)):
        chosen(model)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_nothing_is_granted_where_nothing_can_be_seen(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    model = fresh("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(value)
    with caplog.at_level(logging.INFO):
        assert chosen(model) == PLAIN
    assert f"plain rows, all logits; nothing else can be tried: its logits spread by {value:g}" in (
        caplog.text
    )


@pytest.mark.parametrize("longest", [2, 3, 5])
def test_short_sequences_are_enough(longest: int) -> None:
    assert probe.choose(ResponseLogps(fresh("llama"), PLAIN), longest, "the model") == PACKED


def test_the_scorer_stays_as_it_was() -> None:
    model = fresh("gpt2").train()
    before = copy.deepcopy(model.state_dict())
    scorer = ResponseLogps(model, PACKED)
    probe.choose(scorer, LENGTH, "the model")
    assert scorer.abilities == PACKED
    assert model.training
    assert model.config._attn_implementation == "by_row"
    assert all(p.grad is None for p in model.parameters())
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_wrong_shortcuts_are_noticed_on_trained_weights() -> None:
    pairs = texts()
    model = fresh("gemma2, soft caps and a window")
    wrong, right = ResponseLogps(model, BARE), ResponseLogps(model, PLAIN)
    assert probe.changed(wrong, wrong, LENGTH, "no") == ""
    for _ in range(4):
        trained(model, pairs)
    assert re.fullmatch(r"differ by [\d.]+", probe.changed(wrong, wrong, LENGTH, "no"))
    assert wrong.abilities == BARE
    assert probe.changed(right, right, LENGTH, "no") == ""


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
def test_right_shortcuts_stay_right_on_trained_weights(name: str) -> None:
    model = fresh(name)
    for _ in range(4):
        trained(model, texts())
        ten_times(model)
        scorer = ResponseLogps(model, PACKED)
        assert probe.changed(scorer, scorer, LENGTH, "no") == ""


def test_without_shortcuts_none_is_tried(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fresh("gpt2").save_pretrained(tmp_path)
    session = sessions.make()
    with caplog.at_level(logging.INFO):
        assert open_model(tmp_path, LENGTH, session).abilities == PACKED
        assert f"{tmp_path}: packed rows" in caplog.text
        runtime = session.runtime.model_copy(update={"shortcuts": False})
        session.params = session.params.model_copy(update={"runtime": runtime})
        caplog.clear()
        assert open_model(tmp_path, LENGTH, session).abilities == PLAIN
    assert "packed" not in caplog.text
