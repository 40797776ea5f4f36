"""Which weights become the model: the last, or the best epoch's, also after an interruption."""

from pathlib import Path

import naive
import pytest
import sessions
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from preference.core.optimization import Lora
from preference.model import directories, lora
from preference.model.abilities import Abilities
from preference.model.scorer import ResponseLogps
from preference.store import checksums
from preference.training.keeping import Keeper

NAN = float("nan")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model: PreTrainedModel = naive.gpt2()
    model.save_pretrained("base")


def epochs(keeper: Keeper, *values: tuple[float, float]) -> nn.Module:
    """After each epoch the final norm's bias is its number."""
    scorer = ResponseLogps(naive.gpt2(), Abilities("plain", bare_output=False))
    for number, (accuracy, loss) in enumerate(values, start=1):
        torch.nn.init.constant_(scorer.model.transformer.ln_f.bias, float(number))
        metrics = {"pair_acc": accuracy, "loss": loss}
        assert keeper.judged(scorer, metrics) is metrics
    return scorer


def kept() -> float:
    assert checksums.differing(Path("out")) == []
    return float(load_file("out/model.safetensors")["transformer.ln_f.bias"][0])


@pytest.mark.parametrize(
    ("best", "values", "expected"),
    [
        (False, [(0.5, 1.0), (0.7, 1.0), (0.6, 1.0)], 3),
        (True, [(0.5, 1.0), (0.7, 1.0), (0.6, 1.0)], 2),
        # Of several the first.
        (True, [(0.7, 1.0), (0.7, 0.5), (0.6, 1.0)], 1),
        (True, [(0.0, 1.0), (0.0, 1.0)], 1),
        # Without pairs, the lowest loss.
        (True, [(NAN, 0.9), (NAN, 0.2), (NAN, 0.4)], 2),
    ],
)
def test_what_is_kept(best: bool, values: list[tuple[float, float]], expected: int) -> None:
    keeper = Keeper(sessions.make(), Path("base"), Path("out"), best=best)
    keeper.finish(epochs(keeper, *values))
    assert kept() == expected
    assert not list(Path(".checkpoints").rglob(".best*"))


def test_an_interrupted_run_knows_its_best_epoch() -> None:
    first = Keeper(sessions.make(minutes=0), Path("base"), Path("out"), best=True)
    epochs(first, (0.5, 1.0), (0.7, 1.0))
    again = Keeper(sessions.make(minutes=0), Path("base"), Path("out"), best=True)
    again.finish(epochs(again, (0.6, 1.0)))
    assert kept() == 2


def test_of_adapters_the_best_one_is_kept() -> None:
    """With the name of its base, wherever it waited."""
    session = sessions.make()
    scorer = ResponseLogps(naive.gpt2(), Abilities("plain", bare_output=False))
    lora.inject(scorer.model, Lora(r=2), 0, session.accelerator, "train.lora")
    keeper = Keeper(session, Path("base"), Path("out"), best=True)
    for number, accuracy in enumerate((0.5, 0.7, 0.6), start=1):
        for name, weight in scorer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.constant_(weight, float(number))
        keeper.judged(scorer, {"pair_acc": accuracy, "loss": 1.0})
    keeper.finish(scorer)
    assert checksums.differing(Path("out")) == []
    stored = load_file("out/adapter_model.safetensors")
    assert {float(t.mean()) for name, t in stored.items() if "lora_B" in name} == {2.0}
    assert directories.base_of(Path("out")) == Path("base")


def test_without_an_epoch_the_model_is_what_it_was() -> None:
    keeper = Keeper(sessions.make(), Path("base"), Path("out"), best=True)
    keeper.finish(ResponseLogps(naive.gpt2(), Abilities("plain", bare_output=False)))
    assert kept() == 0


def test_a_best_epoch_of_zero_is_known_again() -> None:
    first = Keeper(sessions.make(minutes=0), Path("base"), Path("out"), best=True)
    epochs(first, (0.0, 1.0))
    again = Keeper(sessions.make(minutes=0), Path("base"), Path("out"), best=True)
    epochs(again, (0.0, 1.0), (0.0, 1.0))
    again.finish(ResponseLogps(naive.gpt2(), Abilities("plain", bare_output=False)))
    assert kept() == 1


def test_without_checkpoints_nothing_of_another_run_is_taken() -> None:
    other = Keeper(sessions.make(minutes=None), Path("base"), Path("out"), best=True)
    epochs(other, (0.1, 1.0), (0.2, 1.0), (0.9, 1.0))
    own = Keeper(sessions.make(minutes=None), Path("base"), Path("out"), best=True)
    own.finish(epochs(own, (0.5, 1.0), (0.4, 1.0)))
    assert kept() == 1
