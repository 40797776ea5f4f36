"""Scoring: what does not fit is cut, what is scored is kept."""

import signal
from contextlib import suppress
from pathlib import Path

import naive
import numpy as np
import pytest
import sessions
from gloo import in_two_processes
from meters import Meter
from scorers import PACKED, Killed, Mortal, Small

from preference.core import signals
from preference.core.errors import InputError
from preference.evaluation import scoring
from preference.model.scorer import ResponseLogps
from preference.runtime.checkpoints import ROOT
from preference.runtime.room import MOST
from preference.store.examples import Examples


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pairs() -> Examples:
    return naive.make_pairs(naive.random_texts(10), 30)


def test_scoring_splits_what_does_not_fit(pairs: Examples) -> None:
    scorer = Small(naive.gpt2(), PACKED)
    scorer.tokens = 10_000
    expected = scoring.score(scorer, pairs, sessions.make(), "all")
    scorer.tokens = 130
    found = scoring.score(scorer, pairs, sessions.make(), "parts")
    assert scorer.refused
    np.testing.assert_allclose(found.logps, expected.logps, rtol=1e-5)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    scorer.tokens = 5
    with pytest.raises(InputError, match="test: out of memory with one item at a time"):
        scoring.score(scorer, pairs, sessions.make(), "none")


def test_scoring_takes_as_many_tokens_as_there_is_room_for() -> None:
    pairs = naive.make_pairs(naive.random_texts(60), 30)
    expected = scoring.score(ResponseLogps(naive.gpt2(), PACKED), pairs, sessions.make(), "all")
    session = sessions.make(1)
    for bytes_, tokens in ((10**9, MOST), (1, 1)):
        session.meter = Meter(bytes_)
        found = scoring.score(ResponseLogps(naive.gpt2(), PACKED), pairs, session, "room")
        assert session.tokens_per_batch == tokens
        np.testing.assert_allclose(found.logps, expected.logps, rtol=1e-5)


def short_of_memory() -> tuple[int, list[float]]:
    session = sessions.make()
    scorer = Small(naive.gpt2(), PACKED)
    # The second process has less.
    scorer.tokens = 130 if session.accelerator.process_index else 10**9
    pairs = naive.make_pairs(naive.random_texts(10), 30)
    found = scoring.score(scorer, pairs, session, "x")
    return session.tokens_per_batch, found.logps.tolist()


def test_of_two_processes_one_is_short_of_memory_and_both_go_on(pairs: Examples) -> None:
    expected = scoring.score(ResponseLogps(naive.gpt2(), PACKED), pairs, sessions.make(), "all")
    for tokens, found in in_two_processes(short_of_memory):
        assert tokens < 1000
        np.testing.assert_allclose(found, expected.logps, rtol=1e-5)


def test_scoring_goes_on_where_it_was(pairs: Examples) -> None:
    scorer = Mortal(naive.gpt2(), PACKED)
    expected = scoring.score(scorer, pairs, sessions.make(60), "reference: train")
    whole, scorer.passes, scorer.last = scorer.passes, 0, 4
    session = sessions.make(60, minutes=0)
    with pytest.raises(Killed), sessions.opened(session):
        scoring.score(scorer, pairs, session, "reference: train", keep=True)
    scorer.passes, scorer.last = 0, 10**9
    session = sessions.make(60, minutes=0)
    with sessions.opened(session):
        found = scoring.score(scorer, pairs, session, "reference: train", keep=True)
    assert scorer.passes == whole - 4
    np.testing.assert_array_equal(found.logps, expected.logps)
    np.testing.assert_array_equal(found.tokens, expected.tokens)


def test_a_large_split_is_cut_part_by_part_and_goes_on_where_it_was(
    pairs: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = naive.score(naive.gpt2(), pairs)
    monkeypatch.setattr(scoring, "PROMPTS", 3)
    scorer = Mortal(naive.gpt2(), PACKED)
    # Ten prompts are four parts, each a pass where there is room. Of a part of which some is
    # scored, the whole pass is run again.
    for tokens, scored, left in ((10_000, 2, 2), (1, 4, 3)):
        for room, last in ((tokens, scored), (10_000, 10**9)):
            scorer.passes, scorer.last = 0, last
            session = sessions.make(room, minutes=0)
            with suppress(Killed), sessions.opened(session):
                found = scoring.score(scorer, pairs, session, "test", keep=True)
        assert scorer.passes == left
        np.testing.assert_allclose(found.logps, expected.logps, rtol=1e-5)
        assert found.tokens.tolist() == expected.tokens.tolist()


def test_what_is_not_to_be_kept_is_not(pairs: Examples) -> None:
    session = sessions.make(60, minutes=0)
    with sessions.opened(session):
        scoring.score(ResponseLogps(naive.gpt2(), PACKED), pairs, session, "test")
        assert not ROOT.exists()


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_while_scoring_keeps_what_is_scored(
    number: signal.Signals, pairs: Examples
) -> None:
    scorer = Mortal(naive.gpt2(), PACKED)
    expected = scoring.score(scorer, pairs, sessions.make(60), "test")
    whole, scorer.passes = scorer.passes, 0
    scorer.last, scorer.number = 3, number
    session = sessions.make(60, minutes=5)
    with pytest.raises(signals.Stopped) as stopped, sessions.opened(session):
        scoring.score(scorer, pairs, session, "test", keep=True)
    assert stopped.value.status == 128 + number
    # The pass that it came in was finished.
    assert scorer.passes == 4
    scorer.passes, scorer.last = 0, 10**9
    session = sessions.make(60, minutes=5)
    with sessions.opened(session):
        found = scoring.score(scorer, pairs, session, "test", keep=True)
    assert scorer.passes == whole - 4
    np.testing.assert_array_equal(found.logps, expected.logps)


def test_many_responses_to_a_prompt_are_scored_once_each() -> None:
    """Also more of them than share a row."""
    texts = [([5, 6, 7], [[1 + i, 2] for i in range(11)]), ([3], [[4, 5], [6]])]
    examples = naive.make_examples(texts, 30, [(0, 1), (0, 2), (11, 12)])
    expected = naive.score(naive.gpt2(), examples)
    scorer = Mortal(naive.gpt2(), PACKED)
    found = scoring.score(scorer, examples, sessions.make(12), "test")
    np.testing.assert_allclose(found.logps, expected.logps, rtol=1e-5)
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.index is examples.index
    # 8 and 3 responses to the first prompt, 2 to the second: of 19, 9 and 4 tokens.
    assert scorer.passes == 3
