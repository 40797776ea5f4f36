"""A model of 500 MB on two processes, of which none ever holds much more than its half."""

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import naive
import numpy as np
import pytest
import sessions
import torch
from gloo import in_two_processes
from safetensors.torch import load_file, save_file
from settings import train
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from preference.core.errors import InputError
from preference.losses import named
from preference.model import saving, scorer
from preference.store import checksums
from preference.training import loop

FIELDS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)
VOCABULARY, TOKENS = 2_000, 24
LAYERS = 64  # so that one of them is small beside the model, as it is in large models
TINY, BASE, OUT = Path("tiny"), Path("base"), Path("out")


def write(place: Path, layers: int, dtype: torch.dtype) -> None:
    """A model, sealed as a stage leaves it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=512, intermediate_size=800, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=TOKENS,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(dtype)
    model.save_pretrained(place)
    checksums.seal(place)


class Allocated(ctypes.Structure):
    """glibc's `mallinfo2`."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in FIELDS)


def allocated() -> int:
    """Bytes that are allocated in this process; pages of mapped files are not."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = Allocated
    found = library.mallinfo2()
    return int(found.uordblks + found.hblkhd)


@contextmanager
def watched() -> Iterator[SimpleNamespace]:
    """What this process comes to have at most beyond what it begins with."""
    gc.collect()
    found, ended, before = SimpleNamespace(most=0), threading.Event(), allocated()

    def watch() -> None:
        while not ended.wait(0.002):
            found.most = max(found.most, allocated() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def opened_trained_and_saved(precision: str) -> dict[str, int]:
    """The most that this process came to have while it loads, trains and saves."""
    session = sessions.make(100, precision=precision, shards=True)
    pairs = naive.make_pairs(naive.random_texts(4, seed=3, longest=TOKENS), TOKENS)
    reference = naive.score(naive.llama(), pairs)
    # What libraries take once is not the model's.
    scorer.open_model(TINY, TOKENS, session)
    most = {}
    with sessions.opened(session):
        with watched() as loading:
            model = scorer.open_model(BASE, TOKENS, session, to_train=True)
        most["loading"] = loading.most
        assert str(model.abilities) == "packed rows, output layer at scored positions only"
        with watched() as untrained:
            saving.save(session.accelerator, model, BASE, Path("same"))
        most["saving"] = untrained.most
        asked = train(epochs=1, batch_size=2, learning_rate=1e-3)
        with watched() as training:
            loop.fit(
                model,
                named("dpo").task(pairs, reference, asked, False, 1),
                asked,
                session,
                curves=Path("curves"),
                evaluate=lambda model: {},
                save=lambda model: saving.save(session.accelerator, model, BASE, OUT),
            )
        most["training"] = training.most
    return most


@pytest.mark.parametrize(
    ("precision", "stored"),
    [pytest.param("no", "float32", marks=pytest.mark.long), ("bf16", "bfloat16")],
)
def test_none_holds_more_than_its_part_and_a_layer(
    precision: str, stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dtype = getattr(torch, stored)
    write(TINY, 2, dtype)
    write(BASE, LAYERS, dtype)
    before = load_file(BASE / "model.safetensors")
    size = sum(4 * weight.numel() for weight in before.values())
    assert size > 500e6
    for most in in_two_processes(lambda: opened_trained_and_saved(precision)):
        shares = {name: round(found / size, 3) for name, found in most.items()}
        assert 0.5 <= shares["loading"] <= 0.6
        # Nothing of it is gathered but one matrix after the other.
        assert shares["saving"] <= 0.1
        # Half of the gradients and of two moments, and what a pass gathers.
        assert 1.5 <= shares["training"] <= 1.7
    same, after = (load_file(place / "model.safetensors") for place in (Path("same"), OUT))
    assert before.keys() == same.keys() == after.keys()
    assert all(torch.equal(before[name].float(), same[name]) for name in before)
    assert not any(torch.equal(same[name], after[name]) for name in before)
    model = AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32)
    found = model.state_dict()
    assert all(torch.equal(found[name], after[name]) for name in after)
    scored = naive.score(model, naive.make_pairs(naive.random_texts(2), TOKENS))
    assert np.isfinite(scored.logps).all()


def refused() -> str:
    with pytest.raises(InputError) as error:
        scorer.open_model(TINY, TOKENS, sessions.make(shards=True))
    return str(error.value)


def test_a_broken_weight_is_refused_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(TINY, 2, torch.float32)
    weights = load_file(TINY / "model.safetensors")
    # In the part of one of them.
    weights["model.norm.weight"][-1] = torch.nan
    save_file(weights, TINY / "model.safetensors", {"format": "pt"})
    checksums.seal(TINY)
    for message in in_two_processes(refused):
        assert message.startswith("tiny: 1 of the 512 weights in model.norm.weight are NaN")
