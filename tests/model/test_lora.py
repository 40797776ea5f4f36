"""LoRA: what trains, in which precision, and that it is what peft itself makes of it."""

import copy
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import sessions
import torch
from accelerate.utils import DistributedType
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from settings import train
from transformers import BloomConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedModel as Model

from preference.core.errors import InputError
from preference.core.optimization import Lora
from preference.losses import named
from preference.model import batches, directories, layers, loading, lora, saving
from preference.model.abilities import PLAIN, Abilities
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps, open_model
from preference.runtime.session import Session
from preference.store import checksums
from preference.training import loop

MAKE: dict[str, Callable[[int], Model]] = {"gpt2": naive.gpt2, "llama": naive.llama}
LORA = Lora(r=2, lora_alpha=8, target_modules="all-linear")
PACKED = Abilities("packed", bare_output=True)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def adapted(kind: str, settings: Lora = LORA, session: Session | None = None) -> Model:
    """A model with adapters, whose second matrices are no longer 0."""
    model = MAKE[kind](1)
    lora.inject(model, settings, 1, (session or sessions.make()).accelerator, "train.lora")
    return enlarged(model)


@torch.no_grad()
def enlarged(model: Model) -> Model:
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.normal_(std=0.3)
    return model


@torch.no_grad()
def logps(model: Model, abilities: Abilities, precision: torch.dtype | None = None) -> torch.Tensor:
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    items = [np.array([n]) for n in range(16)] if abilities == PLAIN else list(pairs.index.pairs)
    batch = batches.make(pairs, items, abilities.layout)
    with torch.autocast("cpu", precision, enabled=precision is not None):
        found: torch.Tensor = ResponseLogps(model.eval(), abilities)(batch)
    return found


SHAPES: dict[str, tuple[Callable[[], Model], int]] = {
    # 4 projections of a layer; in and out of each: c_attn, c_proj, c_fc, c_proj.
    "gpt2": (
        lambda: GPT2LMHeadModel(
            GPT2Config(n_layer=2, n_head=2, n_embd=128, n_positions=32, vocab_size=500)
        ),
        2 * (128 + 384 + 128 + 128 + 128 + 512 + 512 + 128),
    ),
    # q, k, v, o, gate, up, down; keys and values have half the heads.
    "llama": (
        lambda: LlamaForCausalLM(
            LlamaConfig(
                **naive.LLAMA_SIZE
                | {"vocab_size": 500, "hidden_size": 128, "intermediate_size": 256},
                max_position_embeddings=32,
            )
        ),
        2 * (2 * (128 + 128) + 2 * (128 + 64) + 3 * (128 + 256)),
    ),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_less_than_a_hundredth_of_the_weights_trains(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make, expected = SHAPES[kind]
    model = make()
    total = sum(weight.numel() for weight in model.parameters()) + expected
    asked = LORA.model_copy(update={"r": 1})
    lora.inject(model, asked, 0, sessions.make().accelerator, "train.lora")
    trained = {n: w.numel() for n, w in model.named_parameters() if w.requires_grad}
    assert sum(trained.values()) == expected
    assert all("lora_A" in name or "lora_B" in name for name in trained)
    assert expected < 0.01 * total
    share = f"{100 * expected / total:.3f}%"
    assert f"lora: {expected:,} of {total:,} weights train ({share})" in caplog.messages


@pytest.mark.parametrize("kind", MAKE)
def test_it_begins_as_the_model_that_it_was(kind: str) -> None:
    expected = logps(MAKE[kind](1), PACKED)
    model = MAKE[kind](1)
    lora.inject(model, LORA, 1, sessions.make().accelerator, "train.lora")
    assert torch.equal(logps(model, PACKED), expected)


VARIANTS: dict[str, dict[str, Any]] = {
    "gpt2": {"r": 2, "lora_alpha": 8, "target_modules": "all-linear"},
    "llama": {"r": 3, "lora_alpha": 4, "use_rslora": True},
}


@pytest.mark.parametrize("kind", MAKE)
def test_a_training_is_that_of_pefts_own_wrapper_by_a_naive_loop(kind: str) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 16)
    start, reference = MAKE[kind](1).double(), MAKE[kind](2).double()
    session = sessions.make()
    policy = copy.deepcopy(start)
    lora.inject(policy, Lora(**VARIANTS[kind]), 7, session.accelerator, "train.lora")
    torch.manual_seed(7)
    peer = get_peft_model(start, LoraConfig(**VARIANTS[kind], task_type="CAUSAL_LM"))
    settings = train(
        beta=0.5,
        epochs=6,
        learning_rate=3e-2,
        batch_size=8,
        weight_decay=0.1,
        warmup_ratio=0.34,
        max_grad_norm=0.7,
    )
    scores = naive.score(reference, pairs)
    loop.fit(
        ResponseLogps(policy, PACKED),
        named("dpo").task(pairs, scores, settings, True, 1),
        settings,
        session,
        curves=Path("curves"),
        evaluate=lambda model: {},
    )
    losses = naive.train_dpo(
        peer, reference, pairs, steps=6, learning_rate=3e-2, weight_decay=0.1, warmup=2,
        max_norm=0.7, beta=0.5, normalize=True,
    )  # fmt: skip
    lines = Path("curves/steps/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    np.testing.assert_allclose([float(line.split("\t")[1]) for line in lines], losses, rtol=1e-5)
    assert losses[-1] < 0.9 * losses[0]
    expected = {name.removeprefix("base_model.model."): w for name, w in peer.named_parameters()}
    found = dict(policy.named_parameters())
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("layout", ["shared", "packed"])
@pytest.mark.parametrize("more", [{}, {"use_dora": True}])
def test_shortcuts_are_exact_with_adapters(
    kind: str, layout: Layout, more: dict[str, bool]
) -> None:
    model = adapted(kind, LORA.model_copy(update=more))
    expected = logps(model, PLAIN)
    assert not torch.allclose(logps(MAKE[kind](1), PLAIN), expected, rtol=0.02)
    found = logps(model, Abilities(layout, bare_output=True))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("abilities", [PLAIN, PACKED])
@pytest.mark.parametrize("dora", [False, True])
def test_frozen_layers_are_held_as_autocast_rounds_them(
    kind: str, abilities: Abilities, dora: bool
) -> None:
    settings = LORA.model_copy(update={"use_dora": dora})
    expected = logps(adapted(kind, settings), abilities, torch.bfloat16)
    model = adapted(kind, settings, sessions.make(precision="bf16"))
    found = logps(model, abilities, torch.bfloat16)
    # DoRA's norms are of the weights as they are held.
    assert torch.allclose(found, expected, rtol=0.02) if dora else torch.equal(found, expected)
    assert lora.rounded(model)
    kinds = {name: weight.dtype for name, weight in model.named_parameters()}
    halved = {name for name, dtype in kinds.items() if dtype == torch.bfloat16}
    assert halved == {n for n in kinds if "base_layer.weight" in n or (kind, n) == UNTIED}
    assert {kinds[name] for name in kinds if name not in halved} == {torch.float32}


UNTIED = ("llama", "lm_head.weight")


def test_in_bf16_a_training_begins_at_its_reference_and_ends_as_what_is_saved() -> None:
    naive.llama(1).save_pretrained("base")
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    session = sessions.make(precision="bf16")

    def scored(scorer: ResponseLogps) -> torch.Tensor:
        batch = batches.make(pairs, list(pairs.index.pairs), "packed")
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return ResponseLogps.forward(scorer, batch)

    reference = open_model(Path("base"), pairs.longest, session)
    scorer = open_model(Path("base"), pairs.longest, session, to_train=True, adapters=LORA)
    assert scorer.abilities == reference.abilities == PACKED
    begun = scored(scorer)
    assert torch.equal(begun, scored(reference))
    settings = train(beta=0.5, epochs=4, learning_rate=3e-2, batch_size=8)
    loop.fit(
        scorer,
        named("dpo").task(pairs, naive.score(naive.llama(2), pairs), settings, True, 1),
        settings,
        session,
        curves=Path("curves"),
        evaluate=lambda model: {},
    )
    ended = scored(scorer)
    saving.save(session.accelerator, scorer, Path("base"), Path("policy"))
    found = scored(open_model(Path("policy"), pairs.longest, session))
    # Merged, their sum is rounded, and not each of the two.
    assert (found - ended).norm() < 0.1 * (begun - ended).norm()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_of_adapters_is_theirs_alone(dropout: float) -> None:
    """On in every epoch of training, off where the model is judged."""
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    session = sessions.make()
    model = adapted("gpt2", LORA.model_copy(update={"lora_dropout": dropout}), session)
    clean = logps(model, PACKED)
    seen: list[bool] = []
    settings = train(beta=0.5, epochs=3, learning_rate=1e-30, batch_size=8)

    def judge(trained: torch.nn.Module) -> dict[str, float]:
        trained.eval()
        seen.append(torch.equal(logps(model, PACKED), clean))
        trained.train(False)
        return {}

    reference = naive.score(MAKE["gpt2"](2), pairs)
    loop.fit(
        ResponseLogps(model, PACKED),
        named("dpo").task(pairs, reference, settings, True, 1),
        settings,
        session,
        curves=Path("curves"),
        evaluate=judge,
    )
    lines = Path("curves/steps/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    losses = [float(line.split("\t")[1]) for line in lines]
    assert seen == [True] * 4
    apart = [abs(losses[0] - losses[1]), abs(losses[1] - losses[2])]
    assert min(apart) > 1e-3 if dropout else max(apart) < 1e-6


@pytest.mark.parametrize("kind", MAKE)
def test_gradient_checkpointing_reaches_adapters_above_frozen_embeddings(kind: str) -> None:
    found = []
    for again in (False, True):
        model = adapted(kind)
        if again:
            layers.checkpoint_gradients(model)
        pairs = naive.make_pairs(naive.random_texts(4), 30)
        batch = batches.make(pairs, list(pairs.index.pairs), "packed")
        ResponseLogps(model, PACKED)(batch).sum().backward()
        found.append({n: w.grad for n, w in model.named_parameters() if w.requires_grad})
        assert all(w.grad is None for w in model.parameters() if not w.requires_grad)
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())
    assert all(torch.equal(found[0][name], gradient) for name, gradient in found[1].items())


def refused(model: Model, message: str, **settings: object) -> None:
    asked = Lora.model_validate(settings)
    with pytest.raises(InputError, match=re.escape(message)):
        lora.inject(model, asked, 0, sessions.make().accelerator, "train.lora")


def test_modules_that_cannot_have_adapters_are_named() -> None:
    some = "take all-linear, or some of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj"
    where = "params.yaml: train.lora.target_modules:"
    message = f"{where} query is no linear layer of this model; {some}"
    refused(naive.llama(), message, target_modules=["q_proj", "query"])
    message = f"{where} lm_head is the output layer of this model; {some}"
    refused(naive.llama(), message, target_modules=["lm_head"])
    refused(naive.gpt2(), f"{where} wte is no linear layer", target_modules=["wte"])
    model = naive.gpt2()
    model.config.model_type = "new"
    refused(model, f"{where} peft has no default for new; take all-linear, or some of c_attn")


@pytest.mark.parametrize(
    ("device", "kind", "message"),
    [
        ("cpu", DistributedType.NO, "needs a CUDA GPU, and this runs on cpu"),
        ("cuda", DistributedType.FSDP, "has no sharded weights"),
        ("cuda", DistributedType.NO, "needs the package bitsandbytes; pip install bitsandbytes"),
    ],
)
def test_four_bits_are_refused_before_a_model_is_read(
    device: str, kind: DistributedType, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sessions.make()
    monkeypatch.setattr(type(session.accelerator), "device", torch.device(device))
    monkeypatch.setattr(type(session.accelerator), "distributed_type", kind)
    monkeypatch.setattr(lora, "is_bitsandbytes_available", lambda: False)
    asked = LORA.model_copy(update={"quantize": "4bit"})
    with pytest.raises(InputError, match=f"test.lora.quantize: 4bit {message}.*, or set it to nu"):
        open_model(Path("gone"), 8, session, to_train=True, adapters=asked)


@pytest.fixture
def trained() -> Model:
    """A model with adapters, its base at models/sft, sealed as a stage leaves it."""
    base = Path("models/sft")
    naive.llama(1).save_pretrained(base)
    (base / directories.ORIGIN).write_text('{"base_model": "scratch"}')
    checksums.seal(base)
    session = sessions.make()
    model = loading.load(base)
    lora.inject(model, LORA, 1, session.accelerator, "train.lora")
    scorer = ResponseLogps(enlarged(model), PLAIN)
    for out, whole in (("models/policy", False), ("models/whole", True)):
        saving.save(session.accelerator, scorer, base, Path(out), whole=whole)
    return model


def test_an_adapter_alone_is_saved_and_merged_where_it_is_loaded(
    trained: Model, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    policy = Path("models/policy")
    assert checksums.differing(policy) == []
    tensors = load_file(policy / "adapter_model.safetensors")
    sizes = [tensor.numel() for tensor in tensors.values()]
    assert sum(sizes) == lora.count(trained)[0]
    merged, whole = loading.load(policy), loading.load(Path("models/whole"))
    assert "models/policy: an adapter, merged into its base models/sft" in caplog.messages
    for name, weight in merged.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name])
    found = logps(merged, PLAIN)
    torch.testing.assert_close(found, logps(trained, PLAIN), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, logps(loading.load(Path("models/sft")), PLAIN), rtol=0.05)
    assert directories.origin(policy) == directories.origin(Path("models/whole")) == "scratch"


def test_an_adapter_names_no_place_of_this_machine(trained: Model, tmp_path: Path) -> None:
    for file in Path("models/policy").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()
    settings = json.loads(Path("models/policy/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "models/sft"
    # A set, which comes in another order in another process.
    assert settings["target_modules"] == sorted(settings["target_modules"])
    # As transformers finds it, from the project's directory.
    found = LlamaForCausalLM.from_pretrained("models/policy")
    torch.testing.assert_close(logps(found, PLAIN), logps(trained, PLAIN))


def test_its_base_is_found_wherever_the_project_is(
    trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = logps(trained, PLAIN)
    Path("models").rename("moved")
    (tmp_path / "project").mkdir()
    Path("moved").rename(tmp_path / "project/models")
    policy = tmp_path / "project/models/policy"
    assert directories.base_of(policy) == tmp_path / "project/models/sft"
    torch.testing.assert_close(logps(loading.load(policy), PLAIN), expected)
    assert not directories.on_hub(str(policy))
    # Another one of the same name, as in a project that is evaluating it, is passed over.
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    naive.llama(3).save_pretrained("models/sft")
    checksums.seal(Path("models/sft"))
    assert directories.base_of(policy) == tmp_path / "project/models/sft"


def test_another_model_in_the_place_of_its_base_is_refused(trained: Model) -> None:
    policy, base = Path("models/policy"), Path("models/sft")
    naive.llama(2).save_pretrained(base)
    checksums.seal(base)
    with pytest.raises(InputError, match=r"models/sft is not the model that .* trained on") as told:
        loading.load(policy)
    assert "dvc repro or dvc checkout" in str(told.value)
    base.rename("models/elsewhere")
    with pytest.raises(InputError, match="models/sft is not there; run dvc repro"):
        loading.load(policy)


def test_bloom_too() -> None:
    from transformers import BloomForCausalLM

    torch.manual_seed(0)
    model = BloomForCausalLM(BloomConfig(vocab_size=97, hidden_size=16, n_layer=2, n_head=2))
    lora.inject(model, Lora(r=2), 1, sessions.make().accelerator, "train.lora")
    enlarged(model)
    names = {name.split(".")[-4] for name, w in model.named_parameters() if w.requires_grad}
    assert names == {"query_key_value"}
    bare = Abilities("plain", bare_output=True)
    torch.testing.assert_close(logps(model, bare), logps(model, PLAIN), rtol=1e-5, atol=1e-5)
