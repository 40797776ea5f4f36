"""The training loop against a naive one, and what must not change its result."""

import copy
import math
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
import sessions
import torch
from accelerate.state import AcceleratorState
from scorers import PACKED, Killed, Mortal
from settings import train
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from preference.core import signals
from preference.core.errors import InputError
from preference.core.optimization import Optimization
from preference.core.params import Train
from preference.losses import named
from preference.losses.kto import metrics as kto_metrics
from preference.model import batches, loading
from preference.model.abilities import Abilities
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps, open_model
from preference.objectives import sft
from preference.objectives.batch import Batch
from preference.objectives.mismatched import mismatched
from preference.objectives.objective import NoOptions, Objective, Task
from preference.objectives.public_length import to_public_length
from preference.runtime.session import Session
from preference.store.examples import Examples
from preference.store.scores import Scores, pair_margins
from preference.training import loop


@pytest.fixture(autouse=True)
def _own_place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves grow in the working directory."""
    monkeypatch.chdir(tmp_path_factory.mktemp("project"))


def train_settings(**changes: object) -> Train:
    values: dict[str, object] = {
        "beta": 0.5,
        "epochs": 6,
        "learning_rate": 3e-3,
        "batch_size": 4,
        "grad_accum_steps": 2,
        "weight_decay": 0.1,
        "warmup_ratio": 0.34,
        "max_grad_norm": 0.7,
    }
    return train(**(values | changes))


def fit(
    model: PreTrainedModel,
    task: Task,
    settings: Optimization,
    curves: Path,
    *,
    layout: Layout = "packed",
    tokens_per_batch: int = 10_000,
) -> list[float]:
    """Train and give back the losses by step."""
    loop.fit(
        ResponseLogps(model, Abilities(layout, True)),
        task,
        settings,
        sessions.make(tokens_per_batch),
        evaluate=lambda model: {"pair_acc": 0.5},
        curves=curves,
    )
    return column(curves, "loss")


def dpo(pairs: Examples, reference: Scores, settings: Train, normalize: bool) -> Task:
    return named("dpo").task(pairs, reference, settings, normalize, 1)


def column(curves: Path, name: str) -> list[float]:
    lines = (curves / f"steps/plots/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("normalize", [True, False])
def test_full_batch_dpo_follows_the_naive_way_step_by_step(
    kind: str, normalize: bool, tmp_path: Path
) -> None:
    make = getattr(naive, kind)
    pairs = naive.make_pairs(naive.random_texts(8), 16)
    start, reference = make(1).double(), make(2).double()
    settings = train_settings()
    policy = copy.deepcopy(start)
    scores = naive.score(reference, pairs)
    objective = dpo(pairs, scores, settings, normalize)
    losses = fit(policy, objective, settings, tmp_path, tokens_per_batch=60)
    expected = naive.train_dpo(
        start,
        reference,
        pairs,
        steps=6,
        learning_rate=3e-3,
        weight_decay=0.1,
        warmup=2,
        max_norm=0.7,
        beta=0.5,
        normalize=normalize,
    )
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for ours, theirs in zip(policy.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


CHOICES: dict[str, object] = {
    "adam_beta1": 0.6,
    "adam_beta2": 0.9,
    "adam_epsilon": 1e-2,
    "weight_decay_on": "matrices",
    "weight_decay": 5.0,
    "max_steps": 5,
}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("schedule", "decay"),
    [
        ("linear", lambda passed: 1 - passed),
        ("cosine", lambda passed: math.cos(math.pi * passed) / 2 + 0.5),
        ("constant_with_warmup", lambda passed: 1.0),
    ],
)
def test_choices_of_the_optimizer_follow_the_naive_way(
    kind: str, schedule: str, decay: Callable[[float], float], tmp_path: Path
) -> None:
    make = getattr(naive, kind)
    pairs = naive.make_pairs(naive.random_texts(6), 16)
    start, reference = make(1).double(), make(2).double()
    with torch.no_grad():
        # Else the biases of a new model are 0, and decay would not move them.
        for parameter in start.parameters():
            parameter.add_(0.1)
    policy = copy.deepcopy(start)
    settings = train_settings(epochs=7, schedule=schedule, **CHOICES)
    task = dpo(pairs, naive.score(reference, pairs), settings, True)
    losses = fit(policy, task, settings, tmp_path)
    expected = naive.train_dpo(
        start,
        reference,
        pairs,
        steps=5,
        learning_rate=3e-3,
        weight_decay=5.0,
        # int(0.34 x 5): of the steps that there are, and not of 7.
        warmup=1,
        max_norm=0.7,
        beta=0.5,
        normalize=True,
        betas=(0.6, 0.9),
        epsilon=1e-2,
        decay=decay,
        decayed=lambda parameter: parameter.ndim == 2,
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for ours, theirs in zip(policy.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def limited(directory: Path, **changes: object) -> tuple[list[float], str, list[Tensor]]:
    """Losses, accuracies by epoch and weights after each, of 13 pairs in steps of 4."""
    pairs = naive.make_pairs(naive.random_texts(13), 30)
    model, weights = naive.gpt2(), []

    def evaluate(scorer: nn.Module) -> dict[str, float]:
        weights.append(torch.cat([p.detach().flatten() for p in scorer.parameters()]))
        return {"pair_acc": len(weights) / 10}

    settings = train_settings(
        batch_size=4, grad_accum_steps=1, schedule="constant_with_warmup", warmup_ratio=0, **changes
    )
    scorer, session = ResponseLogps(model, Abilities("packed", True)), sessions.make()
    loop.fit(scorer, sft.task(pairs), settings, session, evaluate=evaluate, curves=directory)
    epochs = (directory / "epochs/plots/metrics/pair_acc.tsv").read_text()
    return column(directory, "loss"), epochs.partition("\n")[2], weights


def test_training_ends_after_so_many_steps_and_is_judged_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """4 steps an epoch; where the rate stays, all steps are those of the whole training."""
    losses, epochs, weights = limited(tmp_path, epochs=3)
    assert len(losses) == 12
    assert epochs == "0\t0.1\n1\t0.2\n2\t0.3\n3\t0.4\n"
    capsys.readouterr()
    first, judged, reached = limited(tmp_path, epochs=3, max_steps=6)
    assert first == losses[:6]
    assert judged == "0\t0.1\n1\t0.2\n1.5\t0.3\n"
    assert torch.equal(reached[1], weights[1])
    assert not torch.equal(reached[2], reached[1])
    # 13 items and two steps of 4.
    assert " 21/21 [" in capsys.readouterr().err
    first, judged, reached = limited(tmp_path, epochs=3, max_steps=8)
    assert (first, judged) == (losses[:8], "0\t0.1\n1\t0.2\n2\t0.3\n")
    assert torch.equal(reached[2], weights[2])
    first, judged, _ = limited(tmp_path, epochs=3, max_steps=1)
    assert (first, judged) == (losses[:1], "0\t0.1\n0.25\t0.2\n")


def test_epochs_are_the_other_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = limited(tmp_path, epochs=2)
    limited(tmp_path, epochs=2, max_steps=8)
    assert not caplog.messages
    more = limited(tmp_path, epochs=2, max_steps=9)
    assert more[:2] == whole[:2]
    assert torch.equal(more[2][-1], whole[2][-1])
    assert caplog.messages == [
        "test: max_steps asks for 9 steps, and its epochs have 8; raise epochs for more"
    ]


CUTS: tuple[tuple[Layout, int], ...] = (
    ("packed", 10_000),
    ("packed", 40),
    ("shared", 40),
    ("plain", 1),
)


KTO_BY_PAIRS = {"target_kl": 0.1, "shuffle": "pairs"}


# Those of them that need something of the whole step, or sums beside means.
LABELS = ("kto", "kto_kl", "bco")


@pytest.mark.parametrize(
    "name", ["sft", "dpo", *LABELS, "kto by pairs", "aot", "bco_pair", "rpo", "ld_dpo"]
)
def test_micro_batches_and_layout_change_nothing(name: str, tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(13), 16)
    kto = KTO_BY_PAIRS if name == "kto by pairs" else {"target_kl": 0.1}
    name = name.removesuffix(" by pairs")
    settings = train_settings(epochs=2, objective="dpo" if name == "sft" else name, kto=kto)
    beside = to_public_length(pairs) if name == "ld_dpo" else mismatched(pairs, 1)
    reference, apart = (naive.score(naive.gpt2(2).double(), each) for each in (pairs, beside))
    runs = []
    for layout, tokens_per_batch in CUTS:
        model = naive.gpt2(1).double()
        objective = (
            sft.task(pairs)
            if name == "sft"
            else named(name).task(pairs, reference, settings, True, 1, apart)
        )
        losses = fit(
            model,
            objective,
            settings,
            tmp_path,
            layout=layout,
            tokens_per_batch=tokens_per_batch,
        )
        runs.append((losses, torch.cat([p.detach().flatten() for p in model.parameters()])))
    # 13 pairs in steps of 8 are 2 steps an epoch; the 26 examples of KTO are 4.
    assert len(runs[0][0]) == (8 if name in LABELS else 4)
    for losses, weights in runs[1:]:
        np.testing.assert_allclose(losses, runs[0][0], rtol=1e-6)
        torch.testing.assert_close(weights, runs[0][1], rtol=1e-5, atol=1e-6)


def test_kto_by_pairs_is_kto_of_the_same_examples(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 16)
    reference = naive.score(naive.gpt2(2).double(), pairs)
    runs = []
    for kto in ({"target_kl": 0.1}, KTO_BY_PAIRS):
        # All 16 examples are one step, in any order.
        settings = train_settings(objective="kto", batch_size=16, grad_accum_steps=1, kto=kto)
        model = naive.gpt2(1).double()
        objective = named("kto").task(pairs, reference, settings, True, 1)
        losses = fit(model, objective, settings, tmp_path)
        runs.append((losses, torch.cat([p.detach().flatten() for p in model.parameters()])))
    assert len(runs[0][0]) == len(runs[1][0]) == 6
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=1e-6)
    torch.testing.assert_close(runs[1][1], runs[0][1], rtol=1e-5, atol=1e-6)


def test_a_statistic_is_that_of_the_whole_step_however_it_is_cut(tmp_path: Path) -> None:
    """The batch's KL of the paper's KTO: no gradient, and the same in every micro-batch."""
    pairs = naive.make_pairs(naive.random_texts(13), 16)
    reference = naive.score(naive.gpt2(2).double(), pairs)
    seen: list[list[float]] = []

    def loss(batch: Batch, settings: Train, options: NoOptions) -> Tensor:
        kl = batch.statistic
        assert kl is not None
        assert not kl.requires_grad
        seen[-1].append(float(kl))
        above = batch.policy - batch.reference - kl
        return 1 - torch.sigmoid(above.where(batch.desirable, -above))

    objective = Objective(
        "paper's KTO",
        "labels",
        loss,
        kto_metrics,
        statistic=lambda batch: (batch.policy - batch.reference).mean().abs(),
    )
    settings = train_settings(epochs=2, objective="kto")
    runs = []
    for layout, tokens in CUTS:
        seen.append([])
        model = naive.gpt2(1).double()
        task = objective.task(pairs, reference, settings, True, 1)
        losses = fit(model, task, settings, tmp_path, layout=layout, tokens_per_batch=tokens)
        runs.append((losses, torch.cat([p.detach().flatten() for p in model.parameters()])))
    # Of each step's micro-batches, all had one value, and the cuts agree on it.
    steps = [list(dict.fromkeys(values)) for values in seen]
    assert len(seen[1]) > len(seen[0]) == len(steps[0]) == 8
    for found, (losses, weights) in zip(steps[1:], runs[1:], strict=True):
        np.testing.assert_allclose(found, steps[0], rtol=1e-5)
        np.testing.assert_allclose(losses, runs[0][0], rtol=1e-6)
        torch.testing.assert_close(weights, runs[0][1], rtol=1e-5, atol=1e-6)


def test_sft_loss_is_the_mean_over_the_steps_tokens(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 9)
    model = naive.gpt2(1)
    scores = naive.score(model, pairs)
    losses = fit(
        model,
        sft.task(pairs),
        train_settings(epochs=1),
        tmp_path,
        tokens_per_batch=30,
    )
    expected = -scores.logps[::2].sum() / scores.tokens[::2].sum()
    assert losses == pytest.approx([expected], rel=1e-5)


def test_last_step_is_the_mean_over_what_it_has(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(9), 30)
    settings = train_settings(epochs=1, learning_rate=1e-30)
    model = naive.gpt2(1)
    reference = naive.score(naive.gpt2(2), pairs)
    policy = naive.score(model, pairs)
    objective = dpo(pairs, reference, settings, False)
    losses = fit(model, objective, settings, tmp_path)
    margin = pair_margins(policy, False) - pair_margins(reference, False)
    by_pair = np.log1p(np.exp(-0.5 * margin))
    assert len(losses) == 2
    assert losses[0] * 8 + losses[1] == pytest.approx(by_pair.sum(), rel=1e-5)
    assert any(losses[1] == pytest.approx(value, rel=1e-5) for value in by_pair)


def test_learning_rate_warms_up_and_decays_to_zero(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    settings = train_settings(epochs=10, warmup_ratio=0.25, learning_rate=0.008)
    fit(naive.gpt2(), sft.task(pairs), settings, tmp_path)
    rates = column(tmp_path, "learning_rate")
    # int(0.25 x 10) = 2 steps up, 8 down; the rate would be 0 one step after the last.
    assert rates == pytest.approx([0, 0.004, *(0.001 * left for left in range(8, 0, -1))])


@pytest.mark.parametrize(
    ("dropout", "differs_in_epoch"),
    [(False, [False, False]), (True, [True, True]), ("first-epoch", [True, False])],
)
def test_dropout_is_on_where_asked_for(
    dropout: bool | str, differs_in_epoch: list[bool], tmp_path: Path
) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    settings = train_settings(epochs=2, learning_rate=1e-30, dropout=dropout)
    model = naive.gpt2()
    scores = naive.score(model, pairs)
    clean = -scores.logps[::2].sum() / scores.tokens[::2].sum()
    losses = fit(model, sft.task(pairs), settings, tmp_path)
    assert [loss != pytest.approx(clean, rel=1e-5) for loss in losses] == differs_in_epoch


def test_every_epoch_visits_all_examples_in_an_order_of_its_own() -> None:
    orders = [np.concatenate(list(loop._steps(100, 8, 3, epoch))) for epoch in (0, 1)]
    assert all(sorted(order.tolist()) == list(range(100)) for order in orders)
    assert orders[0].tolist() != orders[1].tolist()
    again = np.concatenate(list(loop._steps(100, 8, 3, 0)))
    assert again.tolist() == orders[0].tolist()


def test_loss_that_is_not_finite_stops_with_step_and_rows(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    model = naive.gpt2()
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"the loss is nan.* at step 1 \(rows \["):
        fit(model, sft.task(pairs), train_settings(), tmp_path)


def test_gradient_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    model = naive.gpt2()
    before = copy.deepcopy(model.state_dict())
    objective = sft.task(pairs)
    # The square root's slope at 0 is infinite, its value is not.
    broken = replace(objective, loss=lambda logps, counts, index, statistic: (logps * 0).sqrt())
    with pytest.raises(InputError, match=r"the gradient's norm nan at step 1"):
        fit(model, broken, train_settings(), tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def overlapped(minutes: float | None = None) -> Session:
    """As on a GPU: steps are made a step ahead, and read a step behind."""
    session = sessions.make(minutes=minutes)
    session.overlap = True
    return session


def test_what_is_read_a_step_behind_is_the_same(tmp_path: Path) -> None:
    pairs, runs = naive.make_pairs(naive.random_texts(13), 30), []
    for session in (sessions.make(), overlapped(), overlapped(minutes=0)):
        model, settings = naive.gpt2(), train_settings(epochs=2)
        task, scorer = sft.task(pairs), ResponseLogps(model, Abilities("packed", True))
        loop.fit(scorer, task, settings, session, evaluate=lambda model: {}, curves=tmp_path)
        told = [column(tmp_path, name) for name in ("loss", "grad_norm", "learning_rate")]
        runs.append((told, torch.cat([p.detach().flatten() for p in model.parameters()])))
    (told, weights), *others = runs
    assert [len(values) for values in told] == [4, 4, 4]
    for other, found in others:
        assert other == told
        assert torch.equal(found, weights)


def test_of_a_bad_step_that_is_read_behind_nothing_is_kept(tmp_path: Path) -> None:
    pairs, session = naive.make_pairs(naive.random_texts(20), 30), overlapped(minutes=0)
    task, visited = sft.task(pairs), list[list[int]]()

    def loss(logps: Tensor, counts: Tensor, index: np.ndarray, statistic: Tensor | None) -> Tensor:
        visited.append(sorted(index.tolist()))
        return task.loss(logps, counts, index, statistic) * (
            float("nan") if len(visited) == 3 else 1
        )

    with pytest.raises(InputError, match=r"the loss is nan.* at step 3 \(rows (.*) of") as raised:
        loop.fit(
            ResponseLogps(naive.gpt2(), Abilities("packed", True)),
            replace(task, loss=loss),
            train_settings(batch_size=4, grad_accum_steps=1),
            session,
            evaluate=lambda model: pytest.fail("what is bad is not evaluated"),
            save=lambda model: pytest.fail("nor saved"),
            start={},
            curves=tmp_path / "curves",
        )
    rows = re.search(r"rows \[(.*)\]", str(raised.value))
    assert rows is not None
    assert sorted(map(int, rows[1].split(","))) == visited[2]
    # The fourth was taken before the third was read, and both are lost.
    assert len(visited) == 4
    assert [path.name for path in session.checkpoints.place.iterdir()] == ["000000002"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_signal_is_heard_while_a_step_is_unread(tmp_path: Path) -> None:
    pairs, session = naive.make_pairs(naive.random_texts(20), 30), overlapped(minutes=60)
    scorer = Mortal(naive.gpt2(), PACKED)
    scorer.last, scorer.number = 2, signal.SIGTERM
    with pytest.raises(signals.Stopped, match="SIGTERM"):
        loop.fit(
            scorer,
            sft.task(pairs),
            train_settings(batch_size=2, grad_accum_steps=1),
            session,
            evaluate=lambda model: {},
            curves=tmp_path,
        )
    # It came in the third; the fourth was launched before that was read, and all four are kept.
    assert [path.name for path in session.checkpoints.place.iterdir()] == ["000000004"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_run_that_is_killed_while_a_step_is_unread_goes_on(tmp_path: Path) -> None:
    pairs, settings = naive.make_pairs(naive.random_texts(20), 30), train_settings(epochs=2)

    def run(scorer: ResponseLogps, session: Session) -> tuple[list[float], Tensor]:
        task = sft.task(pairs)
        loop.fit(scorer, task, settings, session, evaluate=lambda model: {}, curves=tmp_path)
        weights = torch.cat([p.detach().flatten() for p in scorer.parameters()])
        return column(tmp_path, "loss"), weights

    losses, weights = run(ResponseLogps(naive.gpt2(), PACKED), sessions.make())
    mortal = Mortal(naive.gpt2(), PACKED)
    mortal.last = 4
    with pytest.raises(Killed):
        run(mortal, overlapped(minutes=0))
    found, others = run(ResponseLogps(naive.gpt2(), PACKED), overlapped(minutes=0))
    assert found == losses
    assert torch.equal(others, weights)


def test_failed_run_leaves_the_earlier_curves(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    curves = tmp_path / "curves"
    losses = fit(naive.gpt2(), sft.task(pairs), train_settings(), curves)
    objective = sft.task(pairs)
    broken = replace(objective, loss=lambda logps, counts, index, statistic: logps * float("nan"))
    with pytest.raises(InputError):
        fit(naive.gpt2(), broken, train_settings(), curves)
    assert column(curves, "loss") == losses
    assert [path.name for path in tmp_path.iterdir()] == ["curves"]


def test_epoch_curve_starts_with_what_is_known(tmp_path: Path) -> None:
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    loop.fit(
        ResponseLogps(naive.gpt2(), Abilities("packed", True)),
        sft.task(pairs),
        train_settings(epochs=1),
        sessions.make(),
        evaluate=lambda model: {"pair_acc": 0.75},
        start={"pair_acc": 0.25},
        curves=tmp_path,
    )
    curve = (tmp_path / "epochs/plots/metrics/pair_acc.tsv").read_text()
    assert curve == "step\tpair_acc\n0\t0.25\n1\t0.75\n"


def test_every_step_in_bf16_sees_the_weights_of_the_step_before(tmp_path: Path) -> None:
    """What the trained scorer says is what a fresh one with its weights says."""
    session = sessions.make(precision="bf16")
    pairs = naive.make_pairs(naive.random_texts(8), max_length=40)
    naive.gpt2().save_pretrained(tmp_path)
    # As a stage opens it.
    scorer = open_model(tmp_path, pairs.longest, session, to_train=True)

    def scored(model: ResponseLogps) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return model(batches.make(pairs, list(pairs.index.pairs), model.abilities.layout))

    before = scored(scorer)
    loop.fit(
        scorer,
        sft.task(pairs),
        train_settings(learning_rate=3e-2),
        session,
        evaluate=lambda model: {},
        curves=Path("curves"),
    )
    AcceleratorState._reset_state(True)
    fresh = loading.load(tmp_path)
    fresh.load_state_dict(scorer.model.state_dict())
    after = scored(scorer)
    assert not torch.allclose(after, before, rtol=0.05)
    torch.testing.assert_close(after, scored(ResponseLogps(fresh, scorer.abilities)))


def test_shortcuts_that_trained_weights_show_to_be_wrong_stop_it(tmp_path: Path) -> None:
    """A soft cap that the output layer alone does not know of."""
    torch.manual_seed(0)
    size = {key: value for key, value in naive.LLAMA_SIZE.items() if key != "initializer_range"}
    config = Gemma2Config(**size, head_dim=4, final_logit_softcapping=30.0)
    pairs = naive.make_pairs(naive.random_texts(8), 30)
    session = sessions.make(minutes=60)
    with pytest.raises(InputError) as raised:
        loop.fit(
            ResponseLogps(Gemma2ForCausalLM(config), Abilities("plain", bare_output=True)),
            sft.task(pairs),
            train_settings(epochs=30, learning_rate=0.1, batch_size=8, grad_accum_steps=1),
            session,
            evaluate=lambda model: {},
            curves=tmp_path,
        )
    message = str(raised.value)
    assert "test: the shortcuts (plain rows, output layer at scored positions only)" in message
    assert "set runtime.shortcuts: false in params.yaml and start again" in message
    # It would go on with weights that were trained with them.
    assert not list(Path(".checkpoints").glob("*"))
