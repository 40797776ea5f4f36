"""What a run keeps to go on from: found by the same run alone, whole or passed over."""

import logging
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
import sessions
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from scorers import PACKED, Killed
from settings import train
from torch import Tensor, nn

from preference.core import signals
from preference.core.errors import InputError
from preference.core.optimization import Lora
from preference.model import lora
from preference.model.scorer import ResponseLogps
from preference.objectives import sft
from preference.runtime import state
from preference.runtime.checkpoints import ROOT, Checkpoints
from preference.store.examples import Examples
from preference.store.scores import Metrics
from preference.training import loop
from preference.training.curves import Curves


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pairs() -> Examples:
    return naive.make_pairs(naive.random_texts(10), 30)


def fit(
    pairs: Examples,
    before_step: Callable[[int], None] = lambda step: None,
    *,
    minutes: float | None = 0,
    dropout: bool = True,
    examples: int = 1,
    save: Callable[[nn.Module], None] = lambda model: None,
    choices: Mapping[str, object] = {},
    adapters: Lora | None = None,
    **facts: object,
) -> dict[str, Tensor]:
    """Train two epochs of 3 steps with checkpoints; the trained weights."""
    task = sft.task(pairs)
    steps = 0

    def loss(logps: Tensor, counts: Tensor, index: np.ndarray, statistic: Tensor | None) -> Tensor:
        nonlocal steps
        steps += 1
        before_step(steps)
        return task.loss(logps, counts, index, statistic)

    scorer = ResponseLogps(naive.gpt2(), PACKED)
    session = sessions.make(seed=3, minutes=minutes, determined_by=[sorted(facts.items())])
    if adapters:
        lora.inject(scorer.model, adapters, 3, session.accelerator, "sft.lora")
    with sessions.opened(session):
        loop.fit(
            scorer,
            replace(task, loss=loss, counted=examples),
            train(epochs=2, batch_size=4 * examples, dropout=dropout, **choices),
            session,
            evaluate=lambda model: {"pair_acc": next(model.parameters()).sum().item()},
            save=save,
            curves=Path("curves"),
        )
    return scorer.state_dict()


def kill_at(step: int) -> Callable[[int], None]:
    def kill(current: int) -> None:
        if current == step:
            raise Killed

    return kill


def written() -> dict[str, str]:
    return {str(p): p.read_text() for p in sorted(Path("curves").rglob("*")) if p.is_file()}


def damage(file: Path) -> None:
    """Turn one bit over."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(("step", "examples"), [(1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (5, 2)])
def test_a_run_goes_on_where_it_was_and_ends_the_same(
    step: int, examples: int, pairs: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    """With dropout, so that the random numbers must go on, too."""
    caplog.set_level(logging.INFO)
    expected, curves = fit(pairs, examples=examples), written()
    assert curves["curves/steps/plots/metrics/loss.tsv"].count("\n") == 1 + 6
    with pytest.raises(Killed):
        fit(pairs, kill_at(step), examples=examples)
    assert [message for message in caplog.messages if "goes on" in message] == []
    found = fit(pairs, examples=examples)
    told = [message for message in caplog.messages if "goes on" in message]
    assert len(told) == (step > 1)
    assert all(f"after step {step - 1}, from {ROOT / 'test'}" in message for message in told)
    assert same(found, expected)
    assert written() == curves
    assert not (ROOT / "test").exists()


CHOICES = {
    "max_steps": 5,
    "schedule": "cosine",
    "warmup_ratio": 0.4,
    "weight_decay": 0.5,
    "weight_decay_on": "matrices",
    "adam_beta2": 0.9,
}


@pytest.mark.parametrize("step", [2, 3, 5, 6])
def test_a_run_of_so_many_steps_goes_on_to_the_same_end(
    step: int, pairs: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 3 steps an epoch; in place of a sixth one it is killed when all are done."""
    caplog.set_level(logging.INFO)
    expected, curves = fit(pairs, choices=CHOICES), written()
    assert curves["curves/steps/plots/metrics/loss.tsv"].count("\n") == 1 + 5

    def killed(model: nn.Module) -> None:
        raise Killed

    with pytest.raises(Killed):
        fit(pairs, kill_at(step), choices=CHOICES, save=killed)
    assert same(fit(pairs, choices=CHOICES), expected)
    assert f"goes on after step {step - 1}, from" in caplog.text
    assert written() == curves


@pytest.mark.parametrize("step", [1, 2, 4, 6])
def test_of_a_training_by_lora_the_adapter_alone_is_kept(step: int, pairs: Examples) -> None:
    """And the run goes on with it where it was; with dropout of both kinds."""
    asked = Lora(r=2, lora_dropout=0.3, target_modules="all-linear")
    expected, curves = fit(pairs, adapters=asked), written()
    assert any(tensor.any() for name, tensor in expected.items() if "lora_B" in name)
    with pytest.raises(Killed):
        fit(pairs, kill_at(step), adapters=asked)
    for place in ROOT.glob("test/*/*"):
        stored = torch.load(place / "00000" / state.NAME)
        shapes = sorted(weight.shape for name, weight in expected.items() if "lora_" in name)
        assert 0 < len(shapes) < len(expected)
        assert sorted(weight.shape for weight in stored["weights"]) == shapes
        assert sorted(of["exp_avg"].shape for of in stored["state"].values()) == shapes
    assert same(fit(pairs, adapters=asked), expected)
    assert written() == curves


def test_another_run_starts_anew(pairs: Examples, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    # First: a run that ends well removes what others have kept.
    expected = fit(pairs, minutes=None)
    with pytest.raises(Killed):
        fit(pairs, kill_at(4), beta=0.1)
    assert list(ROOT.glob("test/*/*")), "there is nothing to go on from"
    assert same(fit(pairs, beta=0.2), expected)
    assert "goes on" not in caplog.text


@pytest.mark.parametrize("name", [state.NAME, "random_states_0.pkl", "position.json"])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    name: str, pairs: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    expected = fit(pairs)
    with pytest.raises(Killed):
        fit(pairs, kill_at(5))
    newest, before = sorted(ROOT.glob("test/*/*"), reverse=True)
    damage(newest / "00000" / name)
    assert same(fit(pairs), expected)
    assert f"checkpoint {newest} is damaged and passed over" in caplog.text
    assert f"goes on after step 3, from {before}" in caplog.text


def test_half_a_checkpoint_is_none(pairs: Examples, caplog: pytest.LogCaptureFixture) -> None:
    """One that was being written when the process ended, and one that lost a file."""
    caplog.set_level(logging.INFO)
    expected = fit(pairs)
    with pytest.raises(Killed):
        fit(pairs, kill_at(3))
    one, two = sorted(ROOT.glob("test/*/*"))
    one.rename(one.with_name(f".{one.name}.tmp"))
    (two / "00000" / state.NAME).unlink()
    assert same(fit(pairs), expected)
    assert "goes on" not in caplog.text


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_waits_for_the_end_of_the_step(
    number: signal.Signals, pairs: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    expected = fit(pairs)

    def ask(step: int) -> None:
        if step == 2:
            signal.raise_signal(number)

    with pytest.raises(signals.Stopped) as stopped:
        # Five minutes have not passed: the signal is the reason for the checkpoint.
        fit(pairs, ask, minutes=5)
    assert stopped.value.status == 128 + number
    assert same(fit(pairs), expected)
    assert "goes on after step 2" in caplog.text


@pytest.mark.parametrize(("step", "kept"), [(1, 2), (2, 3), (3, 3)])
def test_a_signal_late_in_a_step_is_heard_in_the_next(
    step: int,
    kept: int,
    pairs: Examples,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the gradients, and whether one was asked to stop, have been shared; 3 ends an epoch."""
    caplog.set_level(logging.INFO)
    expected = fit(pairs)
    add_step = Curves.add_step

    def ask(self: Curves, values: Metrics) -> None:
        add_step(self, values)
        if self.step == step:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Curves, "add_step", ask)
        with pytest.raises(signals.Stopped):
            fit(pairs, minutes=5)
    assert same(fit(pairs), expected)
    assert f"goes on after step {kept}" in caplog.text


def test_curves_never_stand_beside_a_model_that_could_not_be_saved(pairs: Examples) -> None:
    def full(model: nn.Module) -> None:
        raise OSError(28, "No space left on device")

    fit(pairs)
    before = written()
    with pytest.raises(OSError, match="No space left"):
        fit(pairs, dropout=False, save=full)
    assert written() == before
    fit(pairs, dropout=False)
    assert written() != before


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(pairs: Examples) -> None:
    task = sft.task(pairs)
    calls: list[int] = []

    def broken(
        logps: Tensor, counts: Tensor, index: np.ndarray, statistic: Tensor | None
    ) -> Tensor:
        calls.append(len(index))
        found = task.loss(logps, counts, index, statistic)
        return found * (float("nan") if len(calls) == 3 else 1)

    session = sessions.make(seed=3, minutes=0)
    with (
        pytest.raises(
            InputError, match=r"loss is nan.* step 3 \(rows \[.*kept in .*/test/\w+/000000002"
        ),
        sessions.opened(session),
    ):
        loop.fit(
            ResponseLogps(naive.gpt2(), PACKED),
            replace(task, loss=broken),
            train(epochs=2, batch_size=4),
            session,
            evaluate=lambda model: {},
            curves=Path("curves"),
        )
    assert next(ROOT.glob(f"test/*/000000002/00000/{state.NAME}"))
    assert not Path("curves").exists()


def test_key_follows_params_inputs_and_precision(tmp_path: Path) -> None:
    def key(precision: str = "no", **facts: object) -> Path:
        AcceleratorState._reset_state(True)
        made = Checkpoints(
            "test",
            Accelerator(cpu=True, mixed_precision=precision),
            minutes=0,
            determined_by=[facts],
            inputs=[tmp_path / "inputs"],
        )
        return made.place

    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "model").write_text("a")
    first = key(beta=0.1)
    assert key(beta=0.1) == first
    (tmp_path / "inputs" / "model").write_text("b")
    changed = key(beta=0.1)
    assert len({first, changed, key(beta=0.2), key("bf16", beta=0.1)}) == 4
