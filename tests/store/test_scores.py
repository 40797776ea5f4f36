"""Scores of responses: by pair, against a reference, and through a table."""

import math
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pyarrow.parquet as pq
import pytest

from preference.core.errors import InputError
from preference.store import scores
from preference.store.scores import Scores

# Three responses to a prompt, of which two pairs have the first; one labelled response.
INDEX = naive.make_index([3, 1], [(0, 1), (2, 0)])
INDEX.labels[3] = 1
POLICY = Scores(
    INDEX, np.array([-4.0, -6.0, -9.0, -2.0]), np.array([2, 2, 3, 1]), {"device": "cpu"}
)
REFERENCE = Scores(INDEX, np.array([-5.0, -6.0, -6.0, -1.0]), np.array([2, 2, 3, 1]))


def test_a_response_has_one_score_in_all_its_pairs() -> None:
    assert POLICY.of_responses(True).tolist() == [-2, -3, -3, -2]
    assert POLICY.of_responses(True, np.array([[2, 0]])).tolist() == [[-3, -2]]
    assert [side.tolist() for side in POLICY.of_pairs(True)] == [[-2, -3], [-3, -2]]
    assert [side.tolist() for side in POLICY.of_pairs(False)] == [[-4, -9], [-6, -4]]
    assert scores.pair_margins(POLICY, False).tolist() == [2, -5]


def test_rewards_and_log_ratios_by_hand() -> None:
    assert scores.rewards(POLICY, REFERENCE, False, 0.5).tolist() == [0.5, 0, -1.5, -0.5]
    # Chosen: the first, the third, the labelled one; rejected: the second and the first.
    assert scores.log_ratios(POLICY, REFERENCE, False) == pytest.approx(
        {"chosen_log_ratio": (1 - 3 - 1) / 3, "rejected_log_ratio": 0.5}
    )


def test_scores_of_other_responses_are_no_reference() -> None:
    other = Scores(naive.make_index([3, 1], [(0, 1)]), REFERENCE.logps, REFERENCE.tokens)
    with pytest.raises(ValueError, match="of different responses"):
        scores.rewards(POLICY, other, True, 1.0)


def test_the_mean_of_nothing_is_no_number() -> None:
    assert scores.mean(np.array([1.0, 2.0])) == 1.5
    assert math.isnan(scores.mean(np.array([])))


def test_a_table_gives_the_scores_back(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    scores.write(path, POLICY)
    found = scores.read(path)
    assert found.index.same_as(INDEX)
    assert found.logps.tolist() == POLICY.logps.tolist()
    assert found.tokens.tolist() == POLICY.tokens.tolist()
    assert found.context == {"device": "cpu"}
    assert pq.read_table(path)["logps"].to_pylist() == [[-4, -6, -9], [-2]]


def test_a_large_table_is_written_and_read_by_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = naive.make_index([2, 1, 3, 2], [(1, 0), (3, 5), (4, 3), (7, 6)])
    index.labels[2] = 1
    weights = np.array([0.5, 1, 2, 3], "f4")
    sources = np.array(["one", None, "two", "one"], object)
    index = replace(index, pair_weights=weights, sources=sources)
    expected = Scores(index, -np.arange(8.0), np.arange(1, 9), {"device": "cpu"})
    monkeypatch.setattr(scores, "GROUP_ROWS", 3)
    path = tmp_path / "scores.parquet"
    scores.write(path, expected)
    assert pq.read_metadata(path).num_row_groups == 2
    found = scores.read(path)
    assert found.index.same_as(index)
    assert found.logps.tolist() == expected.logps.tolist()
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.context == expected.context


def test_damaged_scores_are_the_same_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    scores.write(path, POLICY)
    whole, refused = path.read_bytes(), 0
    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(0)
        end = 4 + sum(group.column(i).total_compressed_size for i in range(group.num_columns))
    for at in range(4, end):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            found = scores.read(path)
            assert found.index.same_as(INDEX), at
            assert found.logps.tolist() == POLICY.logps.tolist(), at
            assert found.tokens.tolist() == POLICY.tokens.tolist(), at
        except InputError:
            refused += 1
    assert refused > 50
