"""Made-up runs, and what can be said against them."""

import numpy as np
import pytest
from health_cases import DOTS, counts, run, said, settings, texts

from preference.core.optimization import Lora
from preference.evaluation.labelled import auc_interval
from preference.report import health
from preference.report.findings import Finding, Weight, repetition


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


def test_answers_that_repeat_themselves_in_part_are_a_doubt() -> None:
    fox = "The quick brown fox jumps over a lazy dog. "
    looping = fox + "it. " * 10
    # Of 76 pieces of 8 characters the last 35, from the sentence's ". " on, are 4 different ones.
    assert repetition(looping) == pytest.approx(31 / 76)
    before = {"baseline": said(8, 1), "sft": [fox] * 7 + said(1, 2)}
    judged = health.judge(run(answers=before | {"final": [f"{i}{looping}" for i in range(8)]}))
    assert judged.word == "Learned, with doubts"
    doubts = texts(judged, Weight.DOUBT)
    assert "% of the text of the policy's sampled answers repeats what they said before" in doubts
    # As much was repeated before.
    judged = health.judge(run(answers=before | {"sft": [looping], "final": [looping, fox]}))
    assert judged.word == "Learned"


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


def test_a_policy_that_knows_no_more_than_lengths() -> None:
    made = run()
    scores = made.scores["final"]
    # Every chosen response is the longer one, and scores higher.
    scores.tokens[:] = np.where(np.arange(2000) % 2 == 0, 60, 40)
    scores.logps[:] = np.where(np.arange(2000) % 2 == 0, -60.0, -80.0)
    judged = health.judge(made)
    doubts = texts(judged, Weight.DOUBT)
    assert (
        "who prefers the longer response, and knows nothing else, is not shown to be worse"
        in doubts
    )
    assert "differs by +0.0000 (+0.0000 to +0.0000; p = 1.000)" in doubts


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
    asked = f"{there:,} train pairs, where data.train_pairs asks for 4,000"
    assert judged.findings == [Finding(weight, f"{asked}: the data have no more to use")]


@pytest.mark.parametrize(
    ("most", "weight", "said"),
    [
        (249, None, ""),
        (250, None, ""),
        (251, Weight.NOTE, "250 steps of DPO, where train.max_steps asks for 251: train.epochs "),
        (20, None, ""),
        (19, Weight.DOUBT, "only 19 steps of DPO"),
    ],
)
def test_steps_that_were_asked_for(most: int, weight: Weight | None, said: str) -> None:
    """4,000 pairs in steps of 16 are 250."""
    (found,) = [*health.judge(run(asked=settings(train__max_steps=most))).findings, None][:1]
    assert (found.weight if found else None) == weight
    assert found is None or found.text.startswith(said)


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


@pytest.mark.parametrize(
    ("sft", "train", "doubted"),
    [(4.9e-3, 9e-4, (False, False)), (5e-3, 9e-4, (True, False)), (2e-4, 1e-3, (False, True))],
)
def test_by_lora_rates_are_ten_times_as_high(
    sft: float, train: float, doubted: tuple[bool, bool]
) -> None:
    lora = Lora(r=16)
    rates = {"sft__learning_rate": sft, "train__learning_rate": train}
    asked = settings(sft__lora=lora, train__lora=lora, **rates)
    found = texts(health.judge(run(base="owner/model@0123", asked=asked)), Weight.DOUBT)
    said = tuple(f"{name}.learning_rate is" in found for name in ("sft", "train"))
    assert said == doubted
    usual = "Usual are 5e-6 to 5e-4, by LoRA, as in recipes/pretrained-7b-one-gpu.yaml"
    assert (usual in found) == any(doubted)


def test_a_beta_that_leaves_the_loss_where_it_was() -> None:
    judged = health.judge(run(asked=settings(train__beta=0.1)))
    assert "train.beta is 0.1 and scores are means over tokens" in texts(judged, Weight.NOTE)


@pytest.mark.parametrize(
    ("moved", "weight"), [(-0.49, None), (-1.01, Weight.DOUBT), (-2.01, Weight.BROKEN)]
)
def test_of_labelled_responses_the_desirable_ones_are_watched(
    moved: float, weight: Weight | None
) -> None:
    judged = health.judge(run(moved=moved, labels=(1, 0)))
    assert [found.weight for found in judged.findings] == ([] if weight is None else [weight])
    if weight is not None:
        assert f"a token of the desirable responses less likely by {-moved:.2f} nats" in (
            judged.findings[0].text
        )
        assert f"undesirable responses: {moved - 0.3:+.2f} nats" in judged.findings[0].text


def test_too_few_labelled_responses() -> None:
    judged = health.judge(run(pairs=49, sft=3.0, policy=6.0, moved=0.0, labels=(1, 0)))
    half = auc_interval(0.5, 49, 49)
    assert texts(judged, Weight.DOUBT) == (
        "only 49 desirable and 49 undesirable test responses: an AUC of one half is known to lie "
        f"between {half.low:.2f} and {half.high:.2f}, no better"
    )
    assert health.judge(run(pairs=50, sft=3.0, policy=6.0, moved=0.0, labels=(1, 0))).findings == []


def test_fewer_or_cut_labelled_responses_are_called_so() -> None:
    made = run(labels=(1, 0))
    made.prepared["train"].update(labelled_responses=3000, truncated_labelled=1501)
    assert texts(health.judge(made), Weight.DOUBT).splitlines() == [
        "3,000 train labelled responses, where data.train_pairs asks for 4,000: the data have no "
        "more to use",
        "1,501 of 3,000 train labelled responses were cut to data.max_length",
    ]
