"""Made-up runs, and what is said of them."""

import logging
from typing import Any

import numpy as np
import pytest
from naive import make_index
from settings import params

from preference.core.params import Params
from preference.objectives.registry import named
from preference.report import comparison, health
from preference.report.health import Finding, Health, Run, Weight, repetition
from preference.store.scores import Scores

COMPARED = (("baseline", "final"), ("baseline", "sft"), ("sft", "final"))
TITLES = {"baseline": "baseline", "sft": "SFT", "final": "SFT + DPO"}
SENTENCE = "we could ask the town for bread and a road that leads home before it is dark"
DOTS = ["." * 60] * 8


def said(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(SENTENCE.split(), 30)) for _ in range(count)]


def settings(**changes: object) -> Params:
    """Dotted keys set to other values, in params of a run of 16 pairs a step."""
    values: dict[str, Any] = params("fp32", "cpu").model_dump()
    values["data"] |= {"train_pairs": 4000, "eval_pairs": None}
    values["train"] |= {"batch_size": 16, "learning_rate": 1e-5, "beta": 3.0}
    values["sft"] |= {"learning_rate": 2e-5}
    for key, value in changes.items():
        section, name = key.split("__")
        values[section][name] = value
    return Params.model_validate(values)


def counts(pairs: int, **more: Any) -> dict[str, Any]:
    skipped = {"prompts_differ": 0, "empty_chosen": 0}
    return {"pairs": pairs, "rows_read": pairs, "truncated_pairs": 0, "skipped": skipped} | more


def run(
    pairs: int = 1000,
    sft: float = 0.2,
    policy: float = 0.5,
    moved: float = -0.1,
    base: str = "scratch",
    asked: Params | None = None,
    **more: Any,
) -> Run:
    """Scores a token spread by 0.7 around -2; chosen ones lie higher by `sft` and `policy`.

    Args:
        moved: by how much the policy's lie higher than SFT's, all of them.
    """
    random = np.random.default_rng(0)
    index = make_index([2] * pairs, [(2 * i, 2 * i + 1) for i in range(pairs)])
    tokens = random.integers(5, 90, 2 * pairs)
    means = random.normal(-2, 0.5, 2 * pairs)
    context = {"base_model": base}

    def scores(gain: float, shift: float) -> Scores:
        found = means + random.normal(shift, 0.05, 2 * pairs)
        found[::2] += gain
        return Scores(index, found * tokens, tokens, context)

    found = {
        "baseline": scores(0.0, 0.0),
        "sft": scores(sft, 0.0),
        "final": scores(policy, moved - (policy - sft)),
    }
    compared = {(a, b): comparison.compare(found[a], found[b], normalize=True) for a, b in COMPARED}
    values: dict[str, Any] = {
        "prepared": {"train": counts(4000), "test": counts(pairs)},
        "answers": {"baseline": said(8, 1), "sft": said(8, 2), "final": said(8, 3)},
    } | more
    return Run(
        settings=asked or settings(),
        scores=found,
        compared=compared,
        titles=TITLES,
        objective=named("dpo"),
        **values,
    )


def texts(judged: Health, weight: Weight) -> str:
    return "\n".join(found.text for found in judged.findings if found.weight == weight)


@pytest.mark.parametrize("pairs", [300, 1000, 5000])
def test_a_healthy_run_has_learned(pairs: int) -> None:
    judged = health.judge(run(pairs))
    assert (judged.word, judged.findings) == ("Learned", [])
    assert judged.sentence.startswith(f"Of {pairs:,} test pairs SFT + DPO tells apart +0.")
    assert judged.lines() == [f"**Learned.** {judged.sentence}"]


def test_the_sentence_has_the_numbers_of_the_paired_tests() -> None:
    made = run()
    whole = made.compared["baseline", "final"]["pair_acc"]
    alone = made.compared["sft", "final"]["pair_acc"]
    expected = (
        f"Of 1,000 test pairs SFT + DPO tells apart {whole.difference:+.4f} "
        f"({whole.low:+.4f} to {whole.high:+.4f}; p < 0.001) against the baseline; DPO alone "
        f"{alone.difference:+.4f} ({alone.low:+.4f} to {alone.high:+.4f}; p < 0.001) against SFT."
    )
    assert health.judge(made).sentence == expected


def test_nothing_learned() -> None:
    judged = health.judge(run(sft=0.0, policy=0.0, moved=0.0))
    assert judged.word == "Nothing learned that these test pairs show"
    # Half of the interval is 1.96 standard errors; 80% of changes of 2.8 of them are found.
    gain = run(sft=0.0, policy=0.0, moved=0.0).compared["baseline", "final"]["pair_acc"]
    assert f"a change of {2.8 / 1.96 * (gain.high - gain.low) / 2:.2f} or more" in judged.sentence


def test_a_model_that_has_unlearned() -> None:
    assert health.judge(run(sft=-0.2, policy=-0.5)).word == "Worse than before"


def test_what_sft_alone_has_learned_is_not_the_objectives() -> None:
    judged = health.judge(run(sft=0.5, policy=0.5, moved=0.0))
    assert judged.word == "Learned"
    assert judged.sentence.endswith("That DPO adds to SFT is not shown.")


def test_a_collapsed_model_is_no_success_though_its_accuracy_is_up() -> None:
    answers = {"baseline": said(8, 1), "sft": said(8, 2), "final": DOTS}
    made = run(moved=-4.64, answers=answers)
    assert made.compared["baseline", "final"]["pair_acc"].p_value < 0.01
    judged = health.judge(made)
    assert judged.word == "Broken"
    assert judged.sentence.startswith("The accuracies are no success, whatever they are.")
    broken = texts(judged, Weight.BROKEN)
    assert (
        "The policy has collapsed: DPO made a token of the chosen responses less likely" in broken
    )
    assert "by 4.64 nats on average (0.0097 times as likely" in broken
    assert "8 of its 8 sampled answers are empty or repeat themselves (0 of SFT's do)" in broken


@pytest.mark.parametrize(
    ("moved", "weight"),
    [(-0.49, None), (-0.51, Weight.NOTE), (-1.01, Weight.DOUBT), (-2.01, Weight.BROKEN)],
)
def test_the_likelihood_of_chosen_responses_is_watched(moved: float, weight: Weight | None) -> None:
    judged = health.judge(run(moved=moved))
    assert [found.weight for found in judged.findings] == ([] if weight is None else [weight])
    words = {None: "Learned", Weight.NOTE: "Learned", Weight.DOUBT: "Learned, with doubts"}
    assert judged.word == words.get(weight, "Broken")


def test_likelihood_is_by_token_also_where_scores_are_sums() -> None:
    asked = settings(scoring__length_normalize=False)
    judged = health.judge(run(moved=-2.5, asked=asked))
    assert "by 2.50 nats on average" in texts(judged, Weight.BROKEN)


def test_models_that_repeat_themselves_before_training_too_have_not_collapsed_by_it() -> None:
    answers = {"baseline": DOTS, "sft": DOTS[:6] + said(2, 0), "final": DOTS}
    judged = health.judge(run(answers=answers))
    assert judged.word == "Learned"
    assert "8 of its 8 sampled answers" in texts(judged, Weight.NOTE)


def test_empty_answers_are_broken() -> None:
    answers = {"baseline": said(8, 1), "sft": said(8, 2), "final": [""] * 4 + said(4, 3)}
    judged = health.judge(run(answers=answers))
    assert judged.word == "Broken"


def test_one_answer_to_all_questions() -> None:
    answers = {"baseline": said(8, 1), "sft": said(8, 2), "final": said(1, 3) * 8}
    judged = health.judge(run(answers=answers))
    assert judged.word == "Learned, with doubts"
    assert "1 different ones to 8 (8 of SFT)" in texts(judged, Weight.DOUBT)


def test_lengths_that_drift() -> None:
    longer = [f"{a} {b} {c}" for a, b, c in zip(said(8, 4), said(8, 5), said(8, 6), strict=True)]
    answers = {"baseline": said(8, 1), "sft": said(8, 2), "final": longer}
    assert "have" in texts(health.judge(run(answers=answers)), Weight.DOUBT)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 1.0),
        (".", 1.0),
        ("a", 0.0),
        ("....", 2 / 3),
        ("No.", 0.0),
        ("abcdefgh" * 2, 1 - 8 / 9),
        ("." * 60, 1 - 1 / 53),
    ],
)
def test_repetition_is_the_share_of_pieces_that_were_there(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


def test_most_pairs_cut_or_skipped() -> None:
    train = counts(4000, truncated_pairs=2001)
    test = counts(1000, rows_read=2100, skipped={"empty_prompt": 900, "prompts_differ": 200})
    judged = health.judge(run(prepared={"train": train, "test": test}))
    assert judged.word == "Learned, with doubts"
    assert texts(judged, Weight.DOUBT).splitlines() == [
        "2,001 of 4,000 train pairs were cut to data.max_length",
        "1,100 of 2,100 test rows were skipped as unusable; results/metrics/prepare.json says why",
    ]


@pytest.mark.parametrize(("there", "weight"), [(3999, Weight.NOTE), (3000, Weight.DOUBT)])
def test_fewer_pairs_than_asked_for(there: int, weight: Weight) -> None:
    prepared = {"train": counts(there), "test": counts(1000)}
    judged = health.judge(run(prepared=prepared))
    expected = (
        f"{there:,} train pairs, where data.train_pairs asks for 4,000: the data have no more"
    )
    assert judged.findings == [Finding(weight, expected)]


def test_too_few_pairs_and_steps_to_tell() -> None:
    made = run(pairs=10, sft=3.0, policy=6.0, moved=0.0)
    made.prepared["train"]["pairs"] = 64
    judged = health.judge(made)
    doubts = texts(judged, Weight.DOUBT)
    # Wilson's interval of 5 of 10.
    assert "only 10 test pairs: an accuracy of one half is known to lie between 0.24" in doubts
    assert "only 4 steps of DPO" in doubts


@pytest.mark.parametrize(
    ("base", "doubted"),
    [
        ("scratch", False),
        ("my-model (random weights)", False),
        ("my-model (sha256 0123456789ab)", True),
        ("owner/model@0123", True),
    ],
)
def test_rates_for_random_weights_on_a_pretrained_base(base: str, doubted: bool) -> None:
    asked = settings(sft__learning_rate=3e-3, train__learning_rate=5e-4)
    judged = health.judge(run(base=base, asked=asked))
    found = texts(judged, Weight.DOUBT)
    assert ("sft.learning_rate is 0.003, a rate for random weights" in found) == doubted
    assert ("train.learning_rate is 0.0005, a rate for random weights" in found) == doubted
    assert health.judge(run(base=base)).word == "Learned"


def test_a_beta_that_leaves_the_loss_where_it_was() -> None:
    judged = health.judge(run(asked=settings(train__beta=0.1)))
    assert "train.beta is 0.1 and scores are means over tokens" in texts(judged, Weight.NOTE)


def test_it_is_said_as_loud_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        health.judge(run()).log()
        assert [record.levelname for record in caplog.records] == ["INFO"]
        caplog.clear()
        health.judge(run(moved=-3)).log()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert caplog.records[-1].getMessage().startswith("Broken. The accuracies are no success")
