"""Mixtures: each source in its part, evenly spread, and every pair knows where it comes from."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import data_helpers
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.core.data_params import Data, Source
from preference.core.errors import InputError
from preference.data.sources import registry
from preference.data.sources.mixture import RawRow, mixed
from preference.evaluation.summary import summary
from preference.store.scores import Scores


def made(
    sizes: dict[str, int], split: str = "train", more: dict[str, dict[str, Any]] | None = None
) -> list[RawRow]:
    sources = [Source(title=title, source="demo", **(more or {}).get(title, {})) for title in sizes]
    return list(
        mixed(
            sources,
            split,
            lambda source: ({"text": f"{source.title}{n}"} for n in range(sizes[source.title])),
        )
    )


@hypothesis.settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=4))
def test_every_row_once_in_its_order_and_evenly_spread(sizes: list[int]) -> None:
    named = {f"s{place}-": size for place, size in enumerate(sizes)}
    rows = made(named)
    assert rows == made(named)
    total = sum(sizes)
    assert len(rows) == total
    for title, size in named.items():
        own = [row["text"] for row in rows if row["source"] == title]
        assert own == [f"{title}{n}" for n in range(size)]
        for first in range(1, total + 1):
            # Of the first N rows, its part of the whole, to one row.
            count = sum(row["source"] == title for row in rows[:first])
            assert abs(count - size * first / total) <= 1 + (len(sizes) - 2) / 2


def test_a_share_is_evenly_spread_and_a_cap_is_of_training_rows() -> None:
    more: dict[str, dict[str, Any]] = {"a": {"share": 0.25}, "b": {"cap": 3}}
    texts = {row["text"] for row in made({"a": 20, "b": 10}, more=more)}
    assert texts == {"a3", "a7", "a11", "a15", "a19", "b0", "b1", "b2"}
    tested = Counter(row["source"] for row in made({"a": 20, "b": 10}, "test", more))
    assert tested == {"a": 5, "b": 10}


def test_a_source_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.source: a: nothing is left of its train rows"):
        made({"a": 3, "b": 3}, more={"a": {"share": 0.1}})


def mixture(tmp_path: Path, **changes: Any) -> Data:
    """Messages from files, and the demo's dialogues."""
    own = tmp_path / "own"
    own.mkdir()
    asked = [{"role": "user", "content": "Where?"}]
    rows = [{"prompt": asked, "chosen": f"There {n}.", "rejected": "No."} for n in range(30)]
    for split in ("train", "test"):
        (own / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [
        {"title": "chat", "source": str(own)},
        {"title": "made", "source": "demo", "share": 0.5, "cap": 10},
    ]
    demo = {"train_rows": 40, "test_rows": 10}
    values = data_helpers.PARAMS["data"] | {"source": sources, "demo": demo, **changes}
    return Data.model_validate(values)


def test_dialogues_and_messages_can_be_mixed(tmp_path: Path) -> None:
    data = mixture(tmp_path)
    found, batches = registry.raw(data, "train")
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert found.name == "preference + dialogues"
    own, generated = registry.name(data).split(" + ")
    assert own.startswith("train.jsonl, test.jsonl (sha256 ")
    assert generated == "demo"
    assert found.schema.names[-1] == "source"
    assert Counter(row["source"] for row in rows) == {"chat": 30, "made": 10}
    dialogue = next(row for row in rows if row["source"] == "made")
    assert [turn["role"] for turn in dialogue["prompt"]][::2] == ["user"] * (
        (len(dialogue["prompt"]) + 1) // 2
    )
    assert len(dialogue["responses"]) == 2


def test_every_pair_knows_its_source_and_metrics_tell_them_apart(tmp_path: Path) -> None:
    data_helpers.write_tokenizer(tmp_path / "base", eos_token=data_helpers.EOS)
    found = data_helpers.prepared_data(mixture(tmp_path, template="hh", max_length=900), tmp_path)
    index = found.index
    of_pairs = index.by_source()
    assert {title: int(inside.sum()) for title, inside in of_pairs.items()} == {
        "chat": 30,
        "made": 10,
    }
    # The chosen one scores higher in all pairs of one source, and in none of the other.
    logps = found.responses.lengths * 0.0
    logps[index.pairs[of_pairs["chat"], 0]] = 1.0
    logps[index.pairs[of_pairs["made"], 1]] = 1.0
    values = summary(Scores(index, logps, found.responses.lengths), normalize=False)
    assert (values["pairs"], values["pair_acc"]) == (40, 0.75)
    assert (values["chat: pairs"], values["chat: pair_acc"]) == (30, 1.0)
    assert (values["made: pairs"], values["made: pair_acc"]) == (10, 0.0)


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ([{"title": "a", "source": "demo"}] * 2, "source: a: each source needs a title"),
        ([{"title": "a", "source": "demo"}, {"source": "demo"}], "title"),
        ([{"title": "a", "source": "demo", "share": 1.5}, {"title": "b", "source": "x"}], "share"),
    ],
)
def test_wrong_mixtures_are_refused(sources: list[Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Data.model_validate(data_helpers.PARAMS["data"] | {"source": sources})


def test_margins_of_one_source_are_0_in_the_others(tmp_path: Path) -> None:
    data_helpers.write_tokenizer(tmp_path / "base", eos_token=data_helpers.EOS)
    asked = [{"role": "user", "content": "Where?"}]
    head = "\n\nHuman: Why?\n\nAssistant:"
    sources = {
        "plain": {"prompt": asked, "chosen": "There.", "rejected": "No."},
        "asking": {"chosen": f"{head} So.", "rejected": f"{head} No.", "margin": 1.5},
        "counting": {"prompt": asked, "chosen": "Here.", "rejected": "No.", "weight": 0.5},
    }
    for title, row in sources.items():
        (tmp_path / title).mkdir()
        (tmp_path / title / "train.jsonl").write_text(json.dumps(row) + "\n")
    listed = [{"title": title, "source": str(tmp_path / title)} for title in sources]
    values = data_helpers.PARAMS["data"] | {"source": listed, "template": "hh", "train_pairs": None}
    index = data_helpers.prepared_data(Data.model_validate(values), tmp_path).index
    assert index.sources is not None
    assert index.margins is not None
    assert index.pair_weights is not None
    found = dict(
        zip(index.sources, zip(index.margins, index.pair_weights, strict=True), strict=True)
    )
    assert found == {"plain": (0, 1), "asking": (1.5, 1), "counting": (0, 0.5)}
