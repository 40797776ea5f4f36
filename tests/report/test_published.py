"""Files of published results: what they hold, and how a bad one is refused."""

from pathlib import Path
from typing import Any

import pytest
from data_helpers import ROOT
from ruamel.yaml import YAML

from preference.core import params, sections
from preference.core.errors import InputError
from preference.report import published
from tools.use_recipe import merged

DIRECTORY = ROOT / "recipes" / "published"


def test_each_published_row_presupposes_all_that_trained_its_model() -> None:
    def keys(*groups: str) -> set[str]:
        return {key for key in sections.leaf_keys(params.Params) if key.startswith(groups)}

    sft = keys("data.train_pairs", "sft.")
    # By which pairs epochs are judged changes no weights.
    final = sft | keys("train.") - keys("train.kto.", "train.evaluate")
    expected = {"baseline": set(), "sft": sft, "final": final, "delta": final}
    for row in published.read("gpt2-hh-rlhf", DIRECTORY).rows:
        by_epoch = {"train.evaluate"} if row.epoch else set()
        assert row.settings.keys() == expected[row.model] | by_epoch


def test_every_recipe_names_what_there_is() -> None:
    recipes = [merged(path)["report"]["published"] for path in (ROOT / "recipes").glob("*.yaml")]
    for name in filter(None, recipes):
        assert published.read(name, DIRECTORY).rows


@pytest.mark.parametrize("name", ["gpt3", "../published-dpo-gpt2", ""])
def test_an_unknown_name_is_refused_with_those_known(name: str) -> None:
    with pytest.raises(
        InputError, match=r"^params\.yaml: report\.published: .*gpt2-hh-rlhf, (.*, )?null$"
    ):
        published.read(name, DIRECTORY)


def test_the_default_directory_is_the_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert published.read("gpt2-hh-rlhf").pairs == 1000


GOOD: dict[str, Any] = {
    "source": "Made up.",
    "pairs": 10,
    "settings": {"data.max_length": 384},
    "rows": [{"model": "final", "metric": "margin", "value": "0.10", "settings": {}}],
}


def refused(directory: Path, values: object) -> str:
    YAML(typ="safe", pure=True).dump(values, directory / "some.yaml")
    with pytest.raises(InputError) as caught:
        published.read("some", directory)
    assert all(
        line.startswith(f"{directory / 'some.yaml'}: ") for line in str(caught.value).splitlines()
    )
    return str(caught.value).replace(f"{directory}/", "")


def test_the_example_of_the_docs_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs/published.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "mine.yaml").write_text(text)
    found = published.read("mine", tmp_path)
    assert found.pairs == 2000
    assert [row.model for row in found.rows] == ["baseline", "final", "delta"]


def test_a_good_file_is_read(tmp_path: Path) -> None:
    YAML(typ="safe", pure=True).dump(GOOD, tmp_path / "some.yaml")
    found = published.read("some", tmp_path)
    assert (found.pairs, found.rows[0].value) == (10, "0.10")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"settings": {"data.max_len": 1}},
            "settings.data.max_len: 'data.max_len' is no key of params.yaml",
        ),
        ({"settings": {"data": {}}}, "settings.data: 'data' is no key"),
        ({"pairs": 1}, "pairs: input should be greater than or equal to 2"),
        ({"pairs": "many"}, "pairs: input should be a valid integer"),
        ({"rows": []}, "rows: list should have at least 1 item"),
        ({"sauce": ""}, "sauce: unknown key; did you mean source?"),
    ],
)
def test_a_bad_file_is_refused_by_key(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    assert f"some.yaml: {message}" in refused(tmp_path, GOOD | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "policy"}, "model: input should be 'baseline', 'sft', 'final' or 'delta'"),
        ({"metric": "loss"}, "metric: input should be 'pair_acc' or 'margin'"),
        ({"value": 0.1}, "value: input should be a valid string (it is 0.1; write it in quotes)"),
        ({"value": "about 1"}, "value: string should match pattern"),
        ({"metric": "pair_acc", "value": "53.5"}, "value: pair_acc of final lies from 0 to 1"),
        (
            {"settings": {"train.bta": 1}},
            "settings.train.bta: 'train.bta' is no key of params.yaml",
        ),
    ],
)
def test_a_bad_row_is_refused_by_key(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    found = refused(tmp_path, GOOD | {"rows": [*GOOD["rows"], GOOD["rows"][0] | change]})
    assert message in found
    assert "some.yaml: rows.1" in found
    assert "rows.0" not in found


@pytest.mark.parametrize("missing", ["source", "pairs", "settings", "rows"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    values = {key: value for key, value in GOOD.items() if key != missing}
    assert (
        refused(tmp_path, values)
        == f"some.yaml: {missing}: missing; the files in recipes/ show every key"
    )


def test_a_file_without_keys_is_refused(tmp_path: Path) -> None:
    assert "some.yaml: expected keys and values" in refused(tmp_path, [1])


@pytest.mark.parametrize("content", [b"rows: [", b"\xff\xfe\x00", b"pairs: 1\npairs: 2\n"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"some\.yaml: not valid YAML"):
        published.read("some", tmp_path)
