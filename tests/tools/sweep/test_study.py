"""Studies: which runs they ask for, what these are called, and how a wrong one is refused."""

import json
from pathlib import Path
from typing import Any

import project
import pytest

from preference.core import params
from preference.core.errors import InputError
from preference.core.params import Params
from tools.sweep import study
from tools.sweep.study import Study, Variant

HEAD = "title: by beta\nx: {param: train.beta, title: beta}\n"


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.ROOT)


def present(**changes: object) -> Params:
    """The default's params, with others under `train`."""
    settings = params.load(project.ROOT / "recipes/demo-dpo.yaml")
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


def read(tmp_path: Path, text: str, settings: Params | None = None) -> tuple[Study, list[Variant]]:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    return study.read(str(file), settings or present())


def variants(tmp_path: Path, *runs: dict[str, Any], **changes: object) -> dict[str, dict[str, Any]]:
    """Settings by name."""
    file = tmp_path / "study.yaml"
    values = {"title": "t", "x": {"param": "train.label_noise", "title": "n"}, "runs": list(runs)}
    # YAML, too, and keys stay in their order.
    file.write_text(json.dumps(values))
    found = study.read(str(file), present(**changes))[1]
    assert len({variant.name for variant in found}) == len(found)
    return {variant.name: dict(variant.settings) for variant in found}


def settings(objective: str, noise: float, batch_size: int) -> dict[str, Any]:
    return {
        "train.objective": objective,
        "train.label_noise": noise,
        "train.batch_size": batch_size,
    }


def test_the_default_study() -> None:
    found, runs = study.read("label-noise", present())
    assert [variant.name for variant in runs] == [
        *(f"dpo-label_noise-{share}" for share in ("0", "0.25", "0.5", "0.75", "1")),
        "kto-label_noise-0",
    ]
    assert [variant.x for variant in runs] == [0.0, 0.25, 0.5, 0.75, 1.0, 0.0]
    assert [variant.series for variant in runs] == ["DPO"] * 5 + ["KTO"]
    assert runs[0].settings == settings("dpo", 0.0, 8)
    assert runs[-1].settings == settings("kto", 0.0, 16)
    assert found.x.title == "share of training labels that are flipped"


@pytest.mark.parametrize("file", sorted((project.ROOT / "recipes/studies").iterdir()), ids=str)
def test_every_study_has_runs(file: Path) -> None:
    assert file.read_text().startswith("# ")
    found, runs = study.read(file.stem, present())
    assert len(runs) > 1
    assert study.read(str(file), present()) == (found, runs)


def test_every_run_once_after_what_params_ask_for(tmp_path: Path) -> None:
    dpo = {"train.objective": "dpo", "train.label_noise": [0.5, 0, 0.5]}
    both = {"train.objective": ["dpo", "kto"], "train.label_noise": 0.0}
    assert list(variants(tmp_path, dpo, both)) == [
        "dpo-label_noise-0",
        "dpo-label_noise-0.5",
        "kto-label_noise-0",
    ]
    other = variants(tmp_path, dpo, objective="kto", label_noise=0.125, batch_size=16)
    assert list(other) == ["kto-label_noise-0.125", "dpo-label_noise-0.5", "dpo-label_noise-0"]


def test_a_run_is_every_combination_of_its_values(tmp_path: Path) -> None:
    found = variants(tmp_path, {"train.beta": [1.0, 2.0], "seed": [1, 2]})
    assert list(found) == [
        "beta-3-seed-42-label_noise-0",
        "beta-1-seed-1-label_noise-0",
        "beta-1-seed-2-label_noise-0",
        "beta-2-seed-1-label_noise-0",
        "beta-2-seed-2-label_noise-0",
    ]
    assert found["beta-2-seed-1-label_noise-0"] == {
        "train.beta": 2.0,
        "seed": 1,
        "train.label_noise": 0.0,
        "train.batch_size": 8,
    }


def test_what_a_run_leaves_out_is_as_in_params(tmp_path: Path) -> None:
    found = variants(tmp_path, {"train.beta": 1.0}, {"train.label_noise": 1}, beta=0.5)
    assert list(found) == [
        "beta-0.5-label_noise-0",
        "beta-1-label_noise-0",
        "beta-0.5-label_noise-1",
    ]
    # Values are as params have them.
    assert repr(found["beta-0.5-label_noise-1"]["train.label_noise"]) == "1.0"


def test_a_step_has_as_many_pairs(tmp_path: Path) -> None:
    def sizes(size: int, objective: str, *runs: dict[str, Any]) -> list[int]:
        found = variants(tmp_path, *runs, objective=objective, batch_size=size)
        return [values["train.batch_size"] for values in found.values()]

    both = {"train.objective": ["dpo", "kto"]}
    # KTO makes two examples of a pair.
    assert sizes(8, "dpo", both) == [8, 16]
    assert sizes(5, "kto", both) == [5, 2]
    assert sizes(1, "kto", both) == [1, 1]
    # Where the study says nothing of it.
    assert sizes(8, "dpo", both, {"train.batch_size": 4}) == [8, 8, 4]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"train.objective": "kto", "train.label_noise": 0.25}, "kto-label_noise-0.25"),
        ({"train.label_noise": 0.1234567, "train.objective": "dpo"}, "label_noise-0.1234567-dpo"),
        ({"train.kto.target_kl": -0.5}, "target_kl--0.5-label_noise-0"),
        ({"train.learning_rate": 2e-5}, "learning_rate-2e-05-label_noise-0"),
        ({"scoring.length_normalize": False}, "length_normalize-False-label_noise-0"),
        ({"data.eval_pairs": None}, "eval_pairs-None-label_noise-0"),
        (
            {"train.objective": "simpo", "train.options": {"gamma": 0.5, "alpha": 1.0}},
            "simpo-options-gamma-0.5-alpha-1-label_noise-0",
        ),
        ({"data.source": "../a b/c:d"}, "source---a-b-c-d-label_noise-0"),
    ],
)
def test_names(settings: dict[str, Any], name: str, tmp_path: Path) -> None:
    found = [*variants(tmp_path, settings)][-1]
    assert found == name
    ref = f"refs/exps/aa/bb/sweep-{found}"
    assert project.git(project.ROOT, "check-ref-format", "--normalize", ref).strip() == ref


def test_objectives_have_their_own_options(tmp_path: Path) -> None:
    run = {"train.objective": "simpo", "train.options": [{"gamma": 0.5}, {"gamma": 1.0}]}
    found = variants(tmp_path, run)
    assert [values["train.options"] for values in found.values()] == [
        {},
        {"gamma": 0.5},
        {"gamma": 1.0},
    ]
    assert next(iter(found)) == "dpo-options-none-label_noise-0"


def test_series_are_what_else_a_run_sets(tmp_path: Path) -> None:
    runs = read(tmp_path, HEAD + "runs: [{train.beta: 1.0, train.objective: kto, seed: 7}]")[1]
    assert [variant.series for variant in runs] == ["DPO, seed-42", "KTO, seed-7"]
    assert [variant.x for variant in runs] == [3.0, 1.0]


SEEDS = "title: by seed\nx: {param: seed, title: seed}\nview: seeds\n"


def test_seeds_come_one_after_the_other_and_share_a_series(tmp_path: Path) -> None:
    found = read(tmp_path, SEEDS + "runs: [{train.objective: [dpo, kto], seed: [1, 2]}]")[1]
    assert [(variant.settings["seed"], variant.series, variant.x) for variant in found] == [
        (42, "DPO", 42),
        (1, "DPO", 1),
        (1, "KTO", 1),
        (2, "DPO", 2),
        (2, "KTO", 2),
    ]


def test_any_study_with_so_many_seeds(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(HEAD + "runs: [{train.beta: [1.0, 3.0], seed: 7}]")
    shown, found = study.read(str(file), present(), seeds=2)
    assert shown.view == "seeds"
    assert [(v.settings["seed"], v.x, v.series) for v in found] == [
        (42, 3.0, "DPO"),
        (42, 1.0, "DPO"),
        (43, 3.0, "DPO"),
        (43, 1.0, "DPO"),
    ]
    assert len({variant.name for variant in found}) == 4


def test_a_screen_of_objectives() -> None:
    shown, found = study.read("screen", present())
    assert shown.view == "screen"
    asked = {variant.settings["train.objective"] for variant in found}
    assert asked == set(params.OBJECTIVES)
    # Nothing but training differs, so that all share a reference, but for what needs more of it.
    keys = {key for variant in found for key in variant.settings}
    assert {key for key in keys if not key.startswith("train.")} == {"reference.train"}
    scored = {(v.settings["train.objective"], v.settings["reference.train"]) for v in found}
    assert {name for name, what in scored if what != "responses"} == {"kto_kl", "ld_dpo"}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (f"{HEAD}runs: [{{train.bata: 1}}]", ["runs.0.train.bata: 'train.bata' is no key of"]),
        (f"{HEAD}runs: [{{train: {{beta: 1}}}}]", ["runs.0.train: 'train' is no key of"]),
        (
            f"{HEAD}view: seeds\nruns: [{{train.beta: 1}}]",
            ["view: seeds is of runs by seed; give them values of it"],
        ),
        (
            f"{HEAD}view: screen\nruns: [{{train.beta: 1}}]",
            ["view: screen is of runs by train.objective; give them values of it"],
        ),
        (f"{HEAD}view: page\nruns: [{{train.beta: 1}}]", ["view: input should be 'sweep', "]),
        (f"{HEAD}runs: []", ["runs: list should have at least 1 item"]),
        (f"{HEAD}runs: [{{train.beta: [1, -1]}}]", ["train.beta: input should be greater than 0"]),
        (
            f"{HEAD}runs: [{{train.beta: x, train.epochs: 1.5}}]",
            [
                "train.epochs: input should be a valid integer",
                "train.beta: input should be a valid",
            ],
        ),
        (f"{HEAD}runs: [{{train.objective: kt}}]", ["train.objective: 'kt' is unknown"]),
        (
            f"{HEAD}runs: [{{data.train_pairs: 30000}}]",
            ["data: train_pairs asks for 30000 pairs, of which the demo makes 20000"],
        ),
        ("title: 1\nruns: 2\ny: 3", ["title: ", "x: missing", "runs: ", "y: unknown key"]),
        ("- 1", ["expected keys and values"]),
        ("a: [", ["not valid YAML"]),
    ],
)
def test_a_wrong_study_is_refused_by_file_and_key(
    text: str, problems: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    file = tmp_path / "study.yaml"
    told = str(caught.value).split(f"{file}: ")[1:]
    assert len(told) == len(problems)
    for line, problem in zip(told, problems, strict=True):
        assert line.startswith(problem)


def test_no_such_study() -> None:
    with pytest.raises(InputError, match=r"recipes/studies/none\.yaml: .*No such file"):
        study.read("none", present())
