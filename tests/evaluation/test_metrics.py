"""The metrics, against a plain loop over pairs and a case worked out by hand."""

import math
from dataclasses import replace

import hypothesis
import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings import train

from preference.core.params import Train
from preference.evaluation import metrics
from preference.losses import dpo, kto, named
from preference.store.scores import Metrics, Scores, log_ratios

unhurried = hypothesis.settings(deadline=None)  # a busy machine is no failure

ENDS = ("_low", "_high")

Row = tuple[float, int, float, int]  # chosen logp and tokens, rejected logp and tokens

# Quarters and few token counts, so that ties come up.
logps = st.one_of(st.integers(-40, 0).map(lambda n: n / 4), st.floats(-500, 0))
rows = st.tuples(logps, st.integers(1, 4), logps, st.integers(1, 4))
both = st.lists(st.tuples(rows, rows), min_size=1, max_size=12)


def scores(table: list[Row]) -> Scores:
    columns = list(zip(*table, strict=True))
    return naive.make_scores(columns[:2], columns[2:])


def settings(objective: str, beta: float, target_kl: float = 0.0) -> Train:
    return train(objective=objective, beta=beta, kto={"target_kl": target_kl})


def all_metrics(policy: Scores, reference: Scores, train: Train, normalize: bool) -> Metrics:
    """What final-eval says of a policy."""
    found = named(train.objective)
    own = found.against_reference(policy, reference, train, normalize)
    return values(metrics.pair_metrics(policy, normalize)) | own


def values(found: Metrics) -> Metrics:
    """Without the ends of intervals."""
    return {k: v for k, v in found.items() if not k.removesuffix("_sum").endswith(ENDS)}


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def plain(
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
    pair, of_dpo, of_kto = plain(ours, theirs, normalize, beta, target_kl)
    assert values(metrics.pair_metrics(policy, normalize)) == close(pair)
    ratios = log_ratios(policy, reference, normalize)
    assert ratios == close(
        {
            "chosen_log_ratio": of_kto["desired_reward"] / beta,
            "rejected_log_ratio": of_kto["undesired_reward"] / beta,
        }
    )
    for name, own, expected in (("dpo", dpo.metrics, of_dpo), ("kto", kto.metrics, of_kto)):
        train = settings(name, beta, target_kl)
        assert own(policy, reference, train, normalize) == close(expected)
        found = all_metrics(policy, reference, train, normalize)
        assert found == close(pair | expected | ratios)


# Means of the policy -2 and -4, then -1 and -1; of the reference -3 and -3, then -1.5 and -2.
POLICY: list[Row] = [(-6.0, 3, -8.0, 2), (-4.0, 4, -1.0, 1)]
REFERENCE: list[Row] = [(-9.0, 3, -6.0, 2), (-6.0, 4, -2.0, 1)]


def test_dpo_by_hand_over_means() -> None:
    # Rewards at beta 0.5: 0.5 and -0.5, then 0.25 and 0.5; their differences 1 and -0.25.
    train = settings("dpo", 0.5)
    found = all_metrics(scores(POLICY), scores(REFERENCE), train, normalize=True)
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
    train = settings("dpo", 0.5)
    found = all_metrics(scores(POLICY), scores(REFERENCE), train, normalize=False)
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
    found = all_metrics(scores(POLICY), scores(REFERENCE), train, normalize=True)
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


def test_chosen_responses_that_became_less_likely() -> None:
    policy = scores([(-2.0, 2, -9.0, 3), (-1.5, 1, -1.0, 1), (-3.0, 1, -1.0, 1)])
    reference = scores([(-1.0, 2, -3.0, 3), (-1.5, 1, -1.0, 1), (-4.0, 1, -1.0, 1)])
    found = metrics.chosen_less_likely(policy, reference)
    # One fell, one stayed, one rose: Wilson's interval of one in three.
    assert found == pytest.approx(
        {
            "chosen_less_likely": 1 / 3,
            "chosen_less_likely_low": 0.0614919,
            "chosen_less_likely_high": 0.7923404,
        },
        abs=1e-6,
    )


def test_a_tie_is_not_correct() -> None:
    tied = scores([(-2.0, 2, -3.0, 3), (-1.0, 1, -1.0, 1)])
    assert values(metrics.pair_metrics(tied, normalize=True)) == {"pair_acc": 0.0, "margin": 0.0}
    assert values(metrics.pair_metrics(tied, normalize=False)) == {"pair_acc": 0.5, "margin": 0.5}


def test_a_tie_of_rewards_is_not_correct() -> None:
    # Both rewards are 0.5, so both examples pass for desirable.
    policy, reference = scores([(-1.0, 1, -2.0, 1)]), scores([(-2.0, 1, -3.0, 1)])
    train = settings("kto", 0.5)
    assert dpo.metrics(policy, reference, train, True)["dpo_acc"] == 0
    assert kto.metrics(policy, reference, train, True)["label_acc"] == 0.5


@unhurried
@given(st.lists(rows, min_size=1, max_size=12), st.booleans())
def test_a_policy_equal_to_its_reference_has_no_reward(table: list[Row], normalize: bool) -> None:
    same = scores(table)
    assert dpo.metrics(same, same, settings("dpo", 0.1), normalize) == {
        "loss": pytest.approx(math.log(2)),
        "dpo_acc": 0.0,
        "reward": 0.0,
    }
    found = kto.metrics(same, same, settings("kto", 0.1), normalize)
    assert found["loss"] == pytest.approx(math.log(2))
    assert found["label_acc"] == 0.5
    assert found["mean_reward"] == found["desired_reward"] == found["undesired_reward"] == 0


def test_metrics_are_finite_at_extremes() -> None:
    policy, reference = scores([(-1e6, 1, 0.0, 1)]), scores([(0.0, 1, -1e6, 1)])
    found = dpo.metrics(policy, reference, settings("dpo", 1.0), False)
    assert found == {"loss": 2e6, "dpo_acc": 0.0, "reward": -2e6}
    assert kto.metrics(policy, reference, settings("kto", 1.0), False)["loss"] == 1e6


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_scores_of_other_rows_are_refused(objective: str) -> None:
    policy, reference = scores(POLICY), scores(POLICY)
    moved = replace(reference, index=replace(reference.index, rows=reference.index.rows + 1))
    with pytest.raises(ValueError, match="different responses"):
        all_metrics(policy, moved, settings(objective, 0.1), normalize=True)


def test_scores_of_fewer_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="different responses"):
        dpo.metrics(scores(POLICY), scores(POLICY[:1]), settings("dpo", 0.1), True)


def test_both_ways_are_means_and_sums() -> None:
    found = metrics.both_ways(scores(POLICY))
    assert values(found) == {
        "pair_acc": 0.5,
        "margin": 1.0,
        "pair_acc_sum": 0.5,
        "margin_sum": -0.5,
    }
    assert found["margin_low"] != found["margin_low_sum"]
    assert found["pair_acc_low"] == found["pair_acc_low_sum"]


# Student's quantile for one degree of freedom, over the root of two pairs.
HALF = 12.706204736174698 / math.sqrt(2)


def test_pair_metrics_have_their_intervals() -> None:
    # Margins of 2 and 0, whose standard deviation is the root of 2; one of two is right.
    found = metrics.pair_metrics(scores(POLICY), normalize=True)
    assert list(found) == [f"{m}{end}" for m in ("pair_acc", "margin") for end in ("", *ENDS)]
    assert [found["margin_low"], found["margin_high"]] == pytest.approx(
        [1 - HALF * math.sqrt(2), 1 + HALF * math.sqrt(2)]
    )
    # Wilson's, of 1 in 2: z / (2 sqrt(n + z^2)) on each side.
    z = 1.959963984540054
    half = z / (2 * math.sqrt(2 + z**2))
    assert [found["pair_acc_low"], found["pair_acc_high"]] == pytest.approx(
        [0.5 - half, 0.5 + half]
    )


def test_log_ratios_have_their_intervals() -> None:
    # Log-ratios of means: 1 and 0.5 of the chosen, -1 and 1 of the rejected responses.
    found = metrics.log_ratio_intervals(scores(POLICY), scores(REFERENCE), normalize=True)
    chosen, rejected = HALF * math.sqrt(0.125), HALF * math.sqrt(2)
    assert found == pytest.approx(
        {
            "chosen_log_ratio_low": 0.75 - chosen,
            "chosen_log_ratio_high": 0.75 + chosen,
            "rejected_log_ratio_low": -rejected,
            "rejected_log_ratio_high": rejected,
        }
    )
    # The first epoch's model is its own reference: its log-ratios are known to be 0.
    same = metrics.log_ratio_intervals(scores(POLICY), scores(POLICY), normalize=True)
    assert set(same.values()) == {0.0}


def single(logps: list[float], labels: list[int]) -> Scores:
    """Scores of responses of one token, to one prompt, in no pair."""
    index = naive.make_index([len(logps)], [])
    index.labels[:] = labels
    return Scores(index, np.array(logps), np.ones(len(logps), dtype=int))


def test_labelled_responses_need_no_pairs() -> None:
    labels = [1, 0, -1, 1]
    policy = single([-1.0, -2.0, -5.0, -4.0], labels)
    reference = single([-2.0, -4.0, -1.0, -2.0], labels)
    # Rewards at beta 0.5: 0.5 and -1 of the desirable, 1 of the other; the third has no label.
    found = all_metrics(policy, reference, settings("kto", 0.5, 0.1), normalize=True)
    above = (0.5 - 0.1, -1 - 0.1, 0.1 - 1)
    expected = {
        "pair_acc": math.nan,
        "margin": math.nan,
        "loss": sum(math.log(1 + math.exp(-x)) for x in above) / 3,
        "label_acc": 1 / 3,
        "mean_reward": 0.5 / 3,
        "desired_reward": -0.25,
        "undesired_reward": 1.0,
        "pair_margin": math.nan,
        "chosen_log_ratio": -0.5,
        "rejected_log_ratio": 2.0,
    }
    assert found == pytest.approx(expected, nan_ok=True)
