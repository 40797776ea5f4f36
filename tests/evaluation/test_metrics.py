"""The metrics, against a plain loop over pairs and a case worked out by hand."""

import math
from typing import Literal

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings import train

from preference.core.params import Train
from preference.evaluation import metrics
from preference.evaluation.metrics import Metrics
from preference.store.tables import Scores

unhurried = hypothesis.settings(deadline=None)  # a busy machine is no failure

Row = tuple[float, int, float, int]  # chosen logp and tokens, rejected logp and tokens

# Quarters and few token counts, so that ties come up.
logps = st.one_of(st.integers(-40, 0).map(lambda n: n / 4), st.floats(-500, 0))
rows = st.tuples(logps, st.integers(1, 4), logps, st.integers(1, 4))
both = st.lists(st.tuples(rows, rows), min_size=1, max_size=12)


def scores(table: list[Row]) -> Scores:
    chosen_logp, chosen_tokens, rejected_logp, rejected_tokens = (
        np.array(column) for column in zip(*table, strict=True)
    )
    rows = np.arange(len(table))
    return Scores(rows, chosen_logp, chosen_tokens, rejected_logp, rejected_tokens)


def settings(objective: Literal["dpo", "kto"], beta: float, target_kl: float) -> Train:
    return train(objective=objective, beta=beta, kto={"target_kl": target_kl})


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def naive(
    policy: list[Row], reference: list[Row], normalize: bool, beta: float, target_kl: float
) -> tuple[Metrics, Metrics, Metrics]:
    """Pair, DPO and KTO metrics, one pair after the other."""
    pairs = len(policy)
    pair = dict.fromkeys(("pair_acc", "margin"), 0.0)
    dpo = dict.fromkeys(("loss", "dpo_acc", "reward"), 0.0)
    kto = dict.fromkeys(
        ("loss", "label_acc", "mean_reward", "desired_reward", "undesired_reward"), 0.0
    )
    for ours, theirs in zip(policy, reference, strict=True):
        chosen = ours[0] / ours[1] if normalize else ours[0]
        rejected = ours[2] / ours[3] if normalize else ours[2]
        pair["pair_acc"] += (chosen > rejected) / pairs
        pair["margin"] += (chosen - rejected) / pairs
        desired = beta * (chosen - (theirs[0] / theirs[1] if normalize else theirs[0]))
        undesired = beta * (rejected - (theirs[2] / theirs[3] if normalize else theirs[2]))
        dpo["loss"] += softplus(-(desired - undesired)) / pairs
        dpo["dpo_acc"] += (desired > undesired) / pairs
        dpo["reward"] += (desired - undesired) / pairs
        kto["loss"] += softplus(-(desired - target_kl)) / (2 * pairs)
        kto["loss"] += softplus(-(target_kl - undesired)) / (2 * pairs)
        kto["label_acc"] += ((desired > 0) + (not undesired > 0)) / (2 * pairs)
        kto["mean_reward"] += (desired + undesired) / (2 * pairs)
        kto["desired_reward"] += desired / pairs
        kto["undesired_reward"] += undesired / pairs
    kto["pair_margin"] = pair["margin"]
    return pair, dpo, kto


def close(expected: Metrics) -> object:
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


@unhurried
@given(both, st.booleans(), st.floats(0.01, 3), st.floats(-2, 2))
def test_metrics_agree_with_a_plain_loop(
    table: list[tuple[Row, Row]], normalize: bool, beta: float, target_kl: float
) -> None:
    ours, theirs = [row[0] for row in table], [row[1] for row in table]
    policy, reference = scores(ours), scores(theirs)
    pair, dpo, kto = naive(ours, theirs, normalize, beta, target_kl)
    assert metrics.pair_metrics(policy, normalize) == close(pair)
    found = metrics.dpo_metrics(policy, reference, normalize, beta)
    assert found == close(dpo)
    found = metrics.kto_metrics(policy, reference, normalize, beta, target_kl)
    assert found == close(kto)
    for name, expected in (("dpo", dpo), ("kto", kto)):
        train = settings("dpo" if name == "dpo" else "kto", beta, target_kl)
        found = metrics.all_metrics(policy, reference, train, normalize)
        ratios = metrics.log_ratios(policy, reference, normalize)
        assert found == close(pair | expected | ratios)
        assert ratios == close(
            {
                "chosen_log_ratio": kto["desired_reward"] / beta,
                "rejected_log_ratio": kto["undesired_reward"] / beta,
            }
        )


# Means of the policy -2 and -4, then -1 and -1; of the reference -3 and -3, then -1.5 and -2.
POLICY: list[Row] = [(-6.0, 3, -8.0, 2), (-4.0, 4, -1.0, 1)]
REFERENCE: list[Row] = [(-9.0, 3, -6.0, 2), (-6.0, 4, -2.0, 1)]


def test_dpo_by_hand_over_means() -> None:
    # Rewards at beta 0.5: 0.5 and -0.5, then 0.25 and 0.5; their differences 1 and -0.25.
    train = settings("dpo", 0.5, 0.0)
    found = metrics.all_metrics(scores(POLICY), scores(REFERENCE), train, normalize=True)
    assert found == pytest.approx(
        {
            "pair_acc": 0.5,
            "margin": 1.0,
            "loss": (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.25))) / 2,
            "dpo_acc": 0.5,
            "reward": 0.375,
            "chosen_log_ratio": 0.75,
            "rejected_log_ratio": 0.0,
        }
    )
    assert found["loss"] == pytest.approx((0.3132617 + 0.8259394) / 2, abs=1e-7)


def test_dpo_by_hand_over_sums() -> None:
    # Rewards at beta 0.5: 1.5 and -1, then 1 and 0.5; their differences 2.5 and 0.5.
    train = settings("dpo", 0.5, 0.0)
    found = metrics.all_metrics(scores(POLICY), scores(REFERENCE), train, normalize=False)
    assert found == pytest.approx(
        {
            "pair_acc": 0.5,
            "margin": -0.5,
            "loss": (math.log(1 + math.exp(-2.5)) + math.log(1 + math.exp(-0.5))) / 2,
            "dpo_acc": 1.0,
            "reward": 1.5,
            "chosen_log_ratio": 2.5,
            "rejected_log_ratio": -0.5,
        }
    )


def test_kto_by_hand() -> None:
    train = settings("kto", 0.5, 0.1)
    found = metrics.all_metrics(scores(POLICY), scores(REFERENCE), train, normalize=True)
    above = (0.5 - 0.1, 0.25 - 0.1, 0.1 + 0.5, 0.1 - 0.5)
    assert found == pytest.approx(
        {
            "pair_acc": 0.5,
            "margin": 1.0,
            "loss": sum(math.log(1 + math.exp(-x)) for x in above) / 4,
            "label_acc": 0.75,
            "mean_reward": 0.1875,
            "desired_reward": 0.375,
            "undesired_reward": 0.0,
            "pair_margin": 1.0,
            "chosen_log_ratio": 0.75,
            "rejected_log_ratio": 0.0,
        }
    )


def test_a_tie_is_not_correct() -> None:
    tied = scores([(-2.0, 2, -3.0, 3), (-1.0, 1, -1.0, 1)])
    assert metrics.pair_metrics(tied, normalize=True) == {"pair_acc": 0.0, "margin": 0.0}
    assert metrics.pair_metrics(tied, normalize=False) == {"pair_acc": 0.5, "margin": 0.5}


def test_a_tie_of_rewards_is_not_correct() -> None:
    # Both rewards are 0.5, so both examples pass for desirable.
    policy, reference = scores([(-1.0, 1, -2.0, 1)]), scores([(-2.0, 1, -3.0, 1)])
    assert metrics.dpo_metrics(policy, reference, True, beta=0.5)["dpo_acc"] == 0
    assert metrics.kto_metrics(policy, reference, True, 0.5, 0.0)["label_acc"] == 0.5


@unhurried
@given(st.lists(rows, min_size=1, max_size=12), st.booleans())
def test_a_policy_equal_to_its_reference_has_no_reward(table: list[Row], normalize: bool) -> None:
    same = scores(table)
    assert metrics.dpo_metrics(same, same, normalize, beta=0.1) == {
        "loss": pytest.approx(math.log(2)),
        "dpo_acc": 0.0,
        "reward": 0.0,
    }
    found = metrics.kto_metrics(same, same, normalize, beta=0.1, target_kl=0.0)
    assert found["loss"] == pytest.approx(math.log(2))
    assert found["label_acc"] == 0.5
    assert found["mean_reward"] == found["desired_reward"] == found["undesired_reward"] == 0


def test_metrics_are_finite_at_extremes() -> None:
    policy, reference = scores([(-1e6, 1, 0.0, 1)]), scores([(0.0, 1, -1e6, 1)])
    found = metrics.dpo_metrics(policy, reference, normalize=False, beta=1.0)
    assert found == {"loss": 2e6, "dpo_acc": 0.0, "reward": -2e6}
    assert metrics.kto_metrics(policy, reference, False, 1.0, 0.0)["loss"] == 1e6


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_scores_of_other_rows_are_refused(objective: Literal["dpo", "kto"]) -> None:
    policy, reference = scores(POLICY), scores(POLICY)
    moved = Scores(reference.rows + 1, *list(vars(reference).values())[1:])
    with pytest.raises(ValueError, match="different pairs"):
        metrics.all_metrics(policy, moved, settings(objective, 0.1, 0.0), normalize=True)


def test_scores_of_fewer_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="different pairs"):
        metrics.dpo_metrics(scores(POLICY), scores(POLICY[:1]), normalize=True, beta=0.1)
