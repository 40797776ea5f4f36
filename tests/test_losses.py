"""The objectives by name, and the data that they need."""

import re
from dataclasses import replace

import naive
import numpy as np
import project
import pytest
import settings
from objective_cases import PAIRS, REFERENCE, labelled

from preference import losses
from preference.core import params
from preference.core.errors import InputError
from preference.store.scores import Scores


def asked(objective: str) -> params.Params:
    found = settings.params("fp32", "cpu")
    return found.model_copy(update={"train": settings.train(objective=objective)})


def test_each_objective_is_a_file_under_its_name() -> None:
    titles = {name: losses.named(name).title for name in params.OBJECTIVES}
    assert titles["dpo"] == "DPO"
    assert losses.named("dpo").trained == "SFT + DPO"
    # In tables and charts they are told apart by these.
    assert len(set(titles.values())) == len(titles) > 2


def test_the_docs_have_each_objective() -> None:
    lines = (project.ROOT / "docs/objectives.md").read_text().splitlines()
    for name in params.OBJECTIVES:
        found = losses.named(name)
        needs = "pairs" if found.needs == "pairs" else "labelled responses, or pairs"
        reference = "yes" if found.reference else "no"
        assert any(
            line.startswith(f"| `{name}` | {found.title} | {needs} | {reference} |")
            for line in lines
        ), name


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(InputError, match=r"train\.objective: 'ppo' is none of aot, .*, dpo, "):
        losses.named("ppo")


def test_pairs_are_refused_where_the_data_have_none() -> None:
    examples, reference = labelled([1, 0], [1.0, 1.0])
    assert len(losses.task(examples, reference, asked("kto")).items) == 2
    with pytest.raises(InputError, match="dpo needs pairs; the training data have 0 pairs and 2"):
        losses.task(examples, reference, asked("dpo"))


def test_responses_without_labels_are_refused() -> None:
    examples = naive.make_examples([([1], [[2], [3]])], 8, [])
    scores = Scores(examples.index, REFERENCE.logps[:2], REFERENCE.tokens[:2])
    with pytest.raises(InputError, match="kto needs labels; the training data have 0 pairs and 0"):
        losses.task(examples, scores, asked("kto"))


@pytest.mark.parametrize("name", params.OBJECTIVES)
def test_a_task_covers_all_pairs(name: str) -> None:
    task = losses.task(PAIRS, REFERENCE, asked(name), apart=REFERENCE)
    assert sorted(task.items.reshape(-1).tolist()) == list(range(8))


@pytest.mark.parametrize("name", params.OBJECTIVES)
def test_every_option_has_a_default(name: str) -> None:
    """So that what `train.options` leaves out is as it stands in the loss's own file."""
    losses.named(name).options()


@pytest.mark.parametrize("name", [n for n in params.OBJECTIVES if losses.named(n).reference])
def test_a_task_without_the_scores_that_it_needs_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="needs scores by the reference"):
        losses.task(PAIRS, None, asked(name))


@pytest.mark.parametrize(
    ("name", "kept", "said"),
    [
        ("dpo", {"train", "test"}, None),
        ("dpo", {"train", "test", "mismatched"}, "the mismatched combinations; .* responses"),
        ("kto_kl", {"train", "test", "mismatched"}, None),
        ("ld_dpo", {"train", "test", "public_length"}, None),
        ("dpo", {"train", "test", "public_length"}, "cut to the length .* responses spares"),
        ("simpo", {"train", "test"}, "the training responses; reference.train: none"),
        ("simpo", {"train", "test", "mismatched"}, "combinations; reference.train: none"),
        ("simpo", {"test"}, None),
    ],
)
def test_what_was_scored_in_vain_is_said(name: str, kept: set[str], said: str | None) -> None:
    found = losses.needless(name, kept)
    assert found is None if said is None else re.search(said, found or "")


@pytest.mark.parametrize("name", params.OBJECTIVES)
def test_margins_are_refused_where_the_loss_asks_for_none(name: str) -> None:
    index = replace(PAIRS.index, margins=np.ones(4, "f4"))
    examples, scores = replace(PAIRS, index=index), replace(REFERENCE, index=index)
    if losses.named(name).margins:
        assert len(losses.task(examples, scores, asked(name), apart=scores).items) == 4
    else:
        problem = (
            rf"train\.objective: {name} has no use for the margins .*; set data\.columns: "
            r"\{ignore: margin\} .*, or one of cpo, dpo, dpop, ld_dpo, robust, rpo, simpo"
        )
        with pytest.raises(InputError, match=problem):
            losses.task(examples, scores, asked(name), apart=scores)
