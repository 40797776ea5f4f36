"""Made-up runs, and the verdict on them."""

import logging

import pytest
from health_cases import DOTS, run, said, texts

from preference.report import health
from preference.report.findings import Weight


@pytest.mark.parametrize("pairs", [300, 1000, 5000])
def test_a_healthy_run_has_learned(pairs: int) -> None:
    judged = health.judge(run(pairs))
    assert (judged.word, judged.findings) == ("Learned", [])
    assert judged.sentence.startswith(f"On {pairs:,} test pairs SFT + DPO changes pair_acc by +0.")
    assert judged.lines() == [f"**Learned.** {judged.sentence}"]


def test_the_sentence_has_the_numbers_of_the_paired_tests() -> None:
    made = run()
    whole = made.compared["baseline", "final"]["pair_acc"]
    alone = made.compared["sft", "final"]["pair_acc"]
    expected = (
        f"On 1,000 test pairs SFT + DPO changes pair_acc by {whole.difference:+.4f} "
        f"({whole.low:+.4f} to {whole.high:+.4f}; p < 0.001) against the baseline; DPO alone by "
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


def test_it_is_said_as_loud_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        health.judge(run()).log()
        assert [record.levelname for record in caplog.records] == ["INFO"]
        caplog.clear()
        health.judge(run(moved=-3)).log()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert caplog.records[-1].getMessage().startswith("Broken. The accuracies are no success")


def test_of_labelled_responses_the_auc_says_what_was_learned() -> None:
    made = run(labels=(1, 0))
    judged = health.judge(made)
    assert (judged.word, judged.findings) == ("Learned", [])
    whole = made.compared["baseline", "final"]["auc"]
    assert judged.sentence.startswith(
        "On 1,000 desirable and 1,000 undesirable test responses SFT + DPO changes auc by "
        f"{whole.difference:+.4f} ({whole.low:+.4f} to {whole.high:+.4f}; p < 0.001) against the "
    )
    assert health.judge(run(sft=-0.2, policy=-0.5, labels=(1, 0))).word == "Worse than before"
    judged = health.judge(run(sft=0.0, policy=0.0, moved=0.0, labels=(1, 0)))
    assert judged.word == "Nothing learned that these test responses show"
    assert "They show a change of 0.0" in judged.sentence
    assert "pair" not in judged.sentence
    judged = health.judge(run(moved=-4.64, labels=(1, 0)))
    assert judged.word == "Broken"
    assert judged.sentence.startswith("The AUC is no success, whatever it is. On 1,000 desirable")


def test_of_one_label_there_is_nothing_to_compare() -> None:
    judged = health.judge(run(labels=(1, 1)))
    assert judged.lines() == [
        "**Nothing to compare.** There are 2,000 desirable and 0 undesirable test responses, and "
        "no pairs: without both labels there is nothing to compare models by."
    ]
    # What can be said of answers and likelihood is.
    assert health.judge(run(labels=(1, 1), moved=-4.64)).word == "Broken"
