"""The model's card, with what a reader of it looks for."""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML
from settings import params

from preference.evaluation import labelled
from preference.report import card, markdown
from preference.report.findings import Finding, Weight
from preference.report.health import Health
from preference.report.results import Rows

COMMIT = "0123456789abcdef" * 2 + "01234567"
CONTEXT = {"device": "cuda", "precision": "bf16", "data": "demo", "base_model": "scratch"}
PREPARED = {"train": {"pairs": 60}, "test": {"pairs": 40}}
HEALTH = Health("Learned", "By much.", [Finding(Weight.NOTE, "with care")])
MODELS = [
    ["baseline", "0.40", "0.30 to 0.50", "0.00", "-0.10 to 0.10"],
    ["SFT", "0.50", "0.40 to 0.60", "0.10", "0.00 to 0.20"],
    ["SFT + DPO", "0.60", "0.50 to 0.70", "0.30", "0.20 to 0.40"],
    ["delta", "+0.20", "+0.10 to +0.30", "+0.30", "+0.20 to +0.40"],
]


def made(
    template: str = "hh",
    counted: dict[str, dict[str, int]] = PREPARED,
    metrics: tuple[str, ...] = markdown.METRICS,
    **context: str,
) -> tuple[dict[str, Any], str]:
    """The metadata, and the text."""
    prepared = {split: {**counts, "template": template} for split, counts in counted.items()}
    rows = Rows(metrics, MODELS, [], [])
    text = card.model_card(
        params("fp32", "cpu"), "SFT + DPO", rows, CONTEXT | context, prepared, HEALTH
    )
    empty, metadata, body = text.split("---\n", 2)
    assert empty == ""
    return YAML(typ="safe").load(metadata), body


def test_metadata_name_what_the_hub_knows() -> None:
    metadata, _ = made(data=f"Anthropic/hh-rlhf@{COMMIT}", base_model=f"openai/gpt2@{COMMIT}")
    assert metadata == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["preference-tuning", "dpo"],
        "base_model": "openai/gpt2",
        "datasets": ["Anthropic/hh-rlhf"],
    }


def test_of_several_sources_those_on_the_hub_are_named() -> None:
    data = f"a/one@{COMMIT} + mine (0123456789ab) + b/two@{COMMIT}"
    metadata, body = made(data=data)
    assert metadata["datasets"] == ["a/one", "b/two"]
    assert f"| preferences | {data} |\n" in body


@pytest.mark.parametrize(
    ("data", "base"),
    [
        ("./mine@home", "scratch"),
        ("mine (0123456789ab)", "gpt2.gguf (0123456789ab)"),
        (f"/srv/my data@{COMMIT}", f"openai/gpt2@{COMMIT}, random weights"),
    ],
)
def test_what_is_not_on_the_hub_is_in_no_metadata(data: str, base: str) -> None:
    """Nor is a license, which nothing here knows."""
    metadata, body = made(data=data, base_model=base)
    assert metadata.keys() == {"library_name", "pipeline_tag", "tags"}
    assert f"| base | {base} |\n| preferences | {data} |\n" in body


def test_the_template_is_the_one_that_the_data_were_laid_out_by() -> None:
    said = {template: made(template)[1] for template in ("hh", "chat", "none")}
    for words, template in (
        (
            "dialogues of the form\n\n    \\n\\nHuman: a question\\n\\nAssistant:\n\n## ",
            "hh",
        ),
        (
            "It answers chat messages, laid out by the chat template of its tokenizer.\n\n## ",
            "chat",
        ),
        (
            "    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)\n\n",
            "chat",
        ),
        ("It continues texts as its data lay them out, without a template.\n\n## ", "none"),
    ):
        assert [name for name, body in said.items() if words in body] == [template]


def test_the_text_has_data_numbers_and_params() -> None:
    _, body = made()
    assert body.startswith("\n# SFT + DPO\n")
    for line in (
        "| pairs | 60 to train on, 40 to test with, of up to 8 tokens |",
        "| computed with | device cuda, precision bf16 |",
        "| model | pair_acc | 95% interval | margin | 95% interval |",
        "**Learned.** By much.\n\n- note: with care.",
        "| SFT | 0.50 | 0.40 to 0.60 | 0.10 | 0.00 to 0.20 |",
        "| SFT + DPO | 0.60 | 0.50 to 0.70 | 0.30 | 0.20 to 0.40 |",
        "minus rejected, in nats a token; 95% intervals.",
        "| `train.learning_rate` | `0.001` |",
        "| `precision` | `fp32` |",
    ):
        assert f"\n{line}\n" in body
    # What training does not depend on, or what would tell of a machine.
    assert not re.search(r"`(runtime|samples|report|data|model)\.", body)
    assert "| baseline | 0.40" not in body
    assert "| delta |" not in body
    assert made() == made()


@pytest.mark.parametrize(("pairs", "said"), [(0, "24"), (12, "24 and 12 pairs")])
def test_of_test_data_without_pairs_it_speaks_of_responses(pairs: int, said: str) -> None:
    counts = {
        "train": {"pairs": pairs, "labelled_responses": 24},
        "test": {"pairs": 0, "labelled_responses": 10},
    }
    _, body = made("none", counts, labelled.METRICS)
    for line in (
        f"| labelled responses | {said} to train on, 10 to test with, of up to 8 tokens |",
        "## Test responses",
        "nats a token; 95% intervals.",
        "| model | auc | 95% interval | label_margin | 95% interval |",
        "| SFT | 0.50 | 0.40 to 0.60 | 0.10 | 0.00 to 0.20 |",
    ):
        assert f"\n{line}\n" in body
    assert "pair_acc" not in body
    assert ("pairs" in body.replace("pairs to train", "")) == bool(pairs)
    assert f"SFT on the {'chosen' if pairs else 'desirable'} responses" in body
