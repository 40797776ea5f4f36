"""dvc.yaml against the code: dependencies, params, and which change reruns which stages."""

import argparse
import importlib
from pathlib import Path

import imports
import networkx as nx
import project
import pytest
from accelerate.state import AcceleratorState
from dvc.repo import Repo

from preference.core import params, sections

STAGES = project.STAGES
LOSSES = Path("preference/losses")
TRAINED = {"train", "final-eval", "samples", "report"}
FROM_SFT = {"sft-warmup", "reference", "sft-eval", *TRAINED}
SCORED = {"baseline-eval", *FROM_SFT}
PREPARED = {"prepare", *SCORED}
FETCHED = {"fetch-data", *PREPARED}
BASE = {"fetch-model", *PREPARED}

# Every key of params.yaml with another value, and the stages that it can affect: those that read
# the key and all that follow. DVC stops earlier where a stage writes what it wrote before.
RERUNS: dict[str, tuple[object, set[str]]] = {
    "seed": (7, BASE),
    "data.source": ("elsewhere", FETCHED),
    "data.revision": ("0" * 40, FETCHED),
    "data.name": ("helpful", FETCHED),
    "data.splits.train": ("train_prefs", FETCHED),
    "data.splits.test": ("test_prefs", FETCHED),
    "data.format": ("dialogues", FETCHED),
    "data.columns.prompt": ("other", FETCHED),
    "data.columns.chosen": ("other", FETCHED),
    "data.columns.rejected": ("other", FETCHED),
    "data.columns.completion": ("other", FETCHED),
    "data.columns.completions": ("other", FETCHED),
    "data.columns.messages": ("other", FETCHED),
    "data.columns.label": ("other", FETCHED),
    "data.columns.scores": ("other", FETCHED),
    "data.columns.weight": ("other", FETCHED),
    "data.columns.margin": ("other", FETCHED),
    "data.columns.ignore": ("other", FETCHED),
    "data.rankings.pairs": ("best-worst", PREPARED),
    "data.rankings.min_gap": (1.0, PREPARED),
    "data.rankings.margin": ("scores", PREPARED),
    "data.train_pairs": (50, PREPARED),
    "data.validation_pairs": (5, PREPARED),
    "data.eval_pairs": (30, PREPARED),
    "data.decontaminate": ("exact", PREPARED),
    "data.template": ("none", BASE),
    "data.bos": ("never", PREPARED),
    "data.special_tokens": ("keep", PREPARED),
    "data.max_length": (100, PREPARED),
    "data.truncation": ("end", PREPARED),
    "data.demo.train_rows": (90, FETCHED),
    "data.demo.test_rows": (60, FETCHED),
    "data.demo.lengths": ("hh-rlhf", FETCHED),
    "data.demo.seed": (1, FETCHED),
    "model.base": ("elsewhere", BASE),
    "model.revision": ("0" * 40, BASE),
    "model.weights": ("random", BASE),
    "model.scratch.n_layer": (3, BASE),
    "model.scratch.n_head": (4, BASE),
    "model.scratch.n_embd": (48, BASE),
    "model.scratch.n_positions": (200, BASE),
    "model.scratch.vocab_size": (500, BASE),
    "scoring.length_normalize": (False, {"baseline-eval", "sft-eval", *TRAINED}),
    "sft.turns": ("all", PREPARED),
    "sft.epochs": (2, FROM_SFT),
    "sft.learning_rate": (0.01, FROM_SFT),
    "sft.batch_size": (2, FROM_SFT),
    "sft.grad_accum_steps": (3, FROM_SFT),
    "sft.weight_decay": (0.1, FROM_SFT),
    "sft.warmup_ratio": (0.5, FROM_SFT),
    "sft.max_grad_norm": (2.0, FROM_SFT),
    "sft.max_steps": (4, FROM_SFT),
    "sft.schedule": ("cosine", FROM_SFT),
    "sft.optimizer": ("adamw_8bit", FROM_SFT),
    "sft.adam_beta1": (0.8, FROM_SFT),
    "sft.adam_beta2": (0.95, FROM_SFT),
    "sft.adam_epsilon": (1e-6, FROM_SFT),
    "sft.weight_decay_on": ("matrices", FROM_SFT),
    "sft.dropout": (True, FROM_SFT),
    "reference.train": ("none", {"reference", "sft-eval", *TRAINED}),
    "sft.lora": ({"r": 2}, FROM_SFT),
    "train.objective": ("kto", TRAINED),
    "train.beta": (0.2, TRAINED),
    "train.label_noise": (0.5, TRAINED),
    "train.evaluate": ("validation", FROM_SFT),
    "train.keep": ("best", TRAINED),
    "train.options": ({"label_smoothing": 0.1}, TRAINED),
    "train.kto.target_kl": (0.1, TRAINED),
    "train.kto.shuffle": ("pairs", TRAINED),
    "train.epochs": (3, TRAINED),
    "train.learning_rate": (0.01, TRAINED),
    "train.batch_size": (2, TRAINED),
    "train.grad_accum_steps": (3, TRAINED),
    "train.weight_decay": (0.1, TRAINED),
    "train.warmup_ratio": (0.5, TRAINED),
    "train.max_grad_norm": (2.0, TRAINED),
    "train.max_steps": (4, TRAINED),
    "train.schedule": ("cosine", TRAINED),
    "train.optimizer": ("adamw_8bit", TRAINED),
    "train.adam_beta1": (0.8, TRAINED),
    "train.adam_beta2": (0.95, TRAINED),
    "train.adam_epsilon": (1e-6, TRAINED),
    "train.weight_decay_on": ("matrices", TRAINED),
    "train.dropout": ("first-epoch", TRAINED),
    "train.lora": ({"r": 2}, TRAINED),
    "precision": ("bf16", SCORED),
    "samples.prompts": (2, {"samples", "report"}),
    "samples.max_new_tokens": (5, {"samples", "report"}),
    "samples.kl_prompts": (3, {"samples", "report"}),
    "report.decimals": (3, {"report"}),
    "report.published": ("gpt2-hh-rlhf", {"report"}),
    "runtime.device": ("cpu", set()),
    "runtime.tokens_per_batch": (500, set()),
    "runtime.workers": (1, set()),
    "runtime.gradient_checkpointing": (True, set()),
    "runtime.compile": (True, set()),
    "runtime.checkpoint_minutes": (0, set()),
    "runtime.deterministic": (True, set()),
    "runtime.trackers": (["tensorboard"], set()),
    "runtime.shortcuts": (False, set()),
}


def test_table_names_every_param() -> None:
    assert set(RERUNS) == set(sections.leaf_keys(params.Params))


@pytest.mark.parametrize("name", STAGES)
def test_deps_are_the_real_import_graph(name: str) -> None:
    """Each file that a stage imports lies in a dependency, and each dependency holds one."""
    deps = {Path(dep) for dep in STAGES[name]["deps"]}
    code = {dep for dep in deps if dep.parts[0] in imports.PACKAGES}
    # Of the objectives, the one that is asked for.
    asked = code & {LOSSES / "${train.objective}.py"}
    code = code - asked | ({LOSSES} if asked else set())
    needed = imports.closure(Path("stages", f"{name.replace('-', '_')}.py"))
    needed = {file for file in needed if imports.CORE not in file.parents}
    missing = {file for file in needed if not code & {file, *file.parents}}
    idle = {dep for dep in code if not any(dep in {file, *file.parents} for file in needed)}
    assert (missing, idle) == (set(), set())


def test_commands_name_the_stage_and_nothing_else() -> None:
    """DVC counts a command as part of its stage: what tunes a process would make it run again."""
    for name, stage in STAGES.items():
        module = f"stages.{name.replace('-', '_')}"
        assert stage["cmd"] in (f"python -m {module}", f"\\${{LAUNCH:-python}} -m {module}")


@pytest.mark.parametrize("name", STAGES)
def test_paths_in_the_script_are_those_in_dvc_yaml(name: str) -> None:
    stage = importlib.import_module(f"stages.{name.replace('-', '_')}")
    values = [v for k, v in vars(stage).items() if k.isupper()]
    found = [p for v in values for p in (v.values() if isinstance(v, dict) else [v])]
    paths = [path for path in found if isinstance(path, Path)]
    entries = [*STAGES[name]["deps"], *STAGES[name].get("outs", [])]
    entries += STAGES[name].get("metrics", [])
    listed = {Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries}
    data = {path for path in listed if path.parts[0] in ("data", "models", "results")}
    for path in paths:
        assert any(path == d or path in d.parents for d in data), path
    for path in data:
        assert any(path == p or p in path.parents for p in paths), path


def tracked(name: str) -> set[str]:
    """The leaf params that a stage tracks."""
    listed = STAGES[name].get("params", [])
    return {
        key
        for key in sections.leaf_keys(params.Params)
        if any(key == group or key.startswith(f"{group}.") for group in listed)
    }


def read_by(name: str, changes: dict[str, object], directory: Path) -> set[str]:
    """The leaf params that a stage really reads, in a run of it in this process."""
    project.set_params(directory, changes)
    found: set[str] = set()
    kept: list[params.Params] = []
    load, plain = params.load, sections.Section.__getattribute__

    def watch(section: sections.Section, prefix: str) -> dict[int, str]:
        names = {id(section): prefix}
        for field in type(section).model_fields:
            value = getattr(section, field)
            if isinstance(value, sections.Section):
                names |= watch(value, f"{prefix}{field}.")
        return names

    def load_watched() -> params.Params:
        values = load(Path("params.yaml"))
        # As long as they are there, no other section has the place of one.
        kept.append(values)
        prefixes = watch(values, "")

        def note(section: sections.Section, field: str) -> object:
            value = plain(section, field)
            fields = plain(section, "__class__").model_fields
            prefix = prefixes.get(id(section))
            if prefix is not None and field in fields and not isinstance(value, sections.Section):
                found.add(prefix + field)
            return value

        sections.Section.__getattribute__ = note  # type: ignore[method-assign, assignment]
        return values

    stage = importlib.import_module(f"stages.{name.replace('-', '_')}")
    AcceleratorState._reset_state(True)
    params.load = load_watched  # type: ignore[assignment]
    try:
        stage.main(argparse.Namespace(policy=None, reference=None, output=None))
    finally:
        params.load = load
        sections.Section.__getattribute__ = plain  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("name", STAGES)
def test_stage_tracks_exactly_the_params_that_it_reads(
    name: str, another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(another)
    found = read_by(name, {"train.objective": "dpo"}, another)
    if {"train", "train.kto.target_kl"} & set(STAGES[name].get("params", [])):
        found |= read_by(name, {"train.objective": "kto"}, another)
    if name == "reference":
        found |= read_by(name, {"reference.train": "mismatched"}, another)
    if name in ("sft-warmup", "train"):
        # Only to refuse what would fail after the training; no result depends on it.
        found.discard("samples.max_new_tokens")
    if name == "sft-warmup":
        found.discard("train.optimizer")
    # Only a Hub id has a revision, no demo has splits, and no dialogues are ranked.
    found |= {"data.revision", "model.revision"} & tracked(name)
    unread = ("data.splits.", "data.rankings.")
    found |= {key for key in tracked(name) if key.startswith(unread)}
    assert {key for key in found if not key.startswith("runtime.")} == tracked(name)


def test_each_param_affects_the_stages_that_track_it_and_what_follows(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    repo = Repo()
    for key, (_, expected) in RERUNS.items():
        assert affected(repo, {name for name in STAGES if key in tracked(name)}) == expected, key


# DVC's own word takes a second each: here of one param a section, and of all where there is time.
FIRST = {key.partition(".")[0]: key for key in reversed(RERUNS)}.values()
ASKED = [
    key if key in {*FIRST, "train.objective"} else pytest.param(key, marks=pytest.mark.long)
    for key in RERUNS
]


@pytest.mark.parametrize("key", ASKED)
def test_changed_param_affects_its_readers_and_what_follows(
    key: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, expected = RERUNS[key]
    monkeypatch.chdir(finished)
    before = Path("params.yaml").read_bytes()
    project.set_params(finished, {key: value})
    repo = Repo()
    changed = set(repo.status())
    Path("params.yaml").write_bytes(before)
    assert affected(repo, changed) == expected


def affected(repo: Repo, changed: set[str]) -> set[str]:
    """The stages that changed, and all that follow."""
    # An edge points from a stage to what it depends on.
    graph = nx.relabel_nodes(repo.index.graph, lambda stage: stage.name)
    return changed.union(*(nx.ancestors(graph, stage) for stage in changed))


def test_nothing_reruns_when_nothing_changed(finished: Path) -> None:
    assert project.repro(finished) == []


# What really ran, one for each part of the table; less where an output came out as it was.
RAN: dict[str, tuple[object, set[str]]] = {
    "runtime.tokens_per_batch": (700, set()),
    "report.decimals": (3, {"report"}),
    "train.objective": ("kto", TRAINED),
    "train.beta": (0.5, TRAINED),
    "sft.epochs": (0, FROM_SFT),
    "scoring.length_normalize": (False, {"baseline-eval", "sft-eval", *TRAINED}),
    # The same test pairs: the baseline stays.
    "data.train_pairs": (50, PREPARED - {"baseline-eval"}),
    # Other weights, the same tokenizer: the pairs stay.
    "seed": (7, {"fetch-model", *SCORED}),
    # More rows behind those that are used; the report lists the params.
    "data.demo.train_rows": (90, {"fetch-data", "prepare", "report"}),
}


# Their stages are among those that the others run.
LONG = {
    "train.objective",
    "train.beta",
    "sft.epochs",
    "scoring.length_normalize",
    "data.train_pairs",
    "seed",
}


@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=[pytest.mark.long] if key in LONG else []) for key in RAN]
)
def test_real_runs_agree_with_the_table(key: str, another: Path) -> None:
    value, expected = RAN[key]
    project.set_params(another, {key: value})
    assert set(project.repro(another)) == expected
    assert expected <= RERUNS[key][1]


# A file of code that changed, and the stages that it can affect, as for params.
TOUCHED: dict[str, set[str]] = {
    # How to compute, and never what.
    "core/progress.py": set(),
    "core/hub.py": set(),
    "core/errors.py": set(),
    "core/params.py": set(),
    "core/signals.py": set(),
    "core/stage.py": set(),
    # What is said of results.
    "report/card.py": {"report"},
    "report/templates/card.md": {"report"},
    "report/templates/report.html": {"report"},
    "report/page.py": {"report"},
    "report/markdown.py": {"report"},
    "report/figures.py": {"report"},
    "report/published.py": {"report"},
    "evaluation/generation.py": {"samples", "report"},
    "evaluation/intervals.py": SCORED,
    "evaluation/metrics.py": SCORED,
    "evaluation/labelled.py": {"baseline-eval", "sft-eval", "final-eval", "report"},
    "evaluation/statistics.py": {"baseline-eval", "sft-eval", "final-eval", "report"},
    "evaluation/summary.py": {"baseline-eval", "sft-eval", "final-eval", "report"},
    # Of all losses, the one that is trained with.
    "losses/dpo.py": TRAINED,
    "losses/kto.py": set(),
    "losses/simpo.py": set(),
    "objectives/batch.py": FROM_SFT,
    "objectives/items.py": FROM_SFT,
    "objectives/mismatched.py": FROM_SFT,
    "losses/__init__.py": TRAINED,
    "objectives/sft.py": FROM_SFT,
    "training/loop.py": FROM_SFT,
    "training/gradients.py": FROM_SFT,
    "training/optimizers.py": FROM_SFT,
    "evaluation/scoring.py": SCORED,
    "model/batches.py": BASE,
    "model/attention/rows.py": BASE,
    "runtime/session.py": SCORED,
    "runtime/devices.py": SCORED,
    "data/leakage.py": PREPARED,
    "data/formats/ranked.py": FETCHED,
    "data/formats/hh.py": FETCHED,
    "data/formats/example.py": FETCHED,
    "data/tokens.py": PREPARED,
    "data/prepare.py": PREPARED,
    "data/counts.py": PREPARED,
    "data/encoding.py": PREPARED,
    "data/splits.py": PREPARED,
    "data/templates.py": PREPARED,
    "data/truncation.py": PREPARED,
    "data/sources/readers.py": FETCHED | BASE,
    "data/sources/files.py": FETCHED | BASE,
    "model/base.py": BASE,
    "model/gguf.py": BASE,
    "model/tokenizer.py": BASE,
    "model/adapters.py": BASE,
    "model/lora.py": BASE,
    "model/checks.py": BASE,
    "model/loading.py": BASE,
    "store/tables.py": FETCHED | BASE,
    "store/scores.py": FETCHED | BASE,
    "store/checksums.py": FETCHED | BASE,
}


@pytest.mark.parametrize("file", TOUCHED)
def test_changed_code_affects_its_importers_and_what_follows(
    file: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    path = Path("preference", file)
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    repo = Repo()
    changed = set(repo.status())
    path.write_bytes(before)
    assert affected(repo, changed) == TOUCHED[file]


def test_code_that_says_how_to_compute_reruns_nothing(another: Path) -> None:
    for file in ("core/progress.py", "core/hub.py", "core/errors.py", "losses/kto.py"):
        with (another / "preference" / file).open("a") as code:
            code.write("# changed\n")
    assert project.repro(another) == []
    with (another / "preference/report/templates/card.md").open("a") as code:
        code.write("More words.\n")
    assert project.repro(another) == ["report"]
    assert (another / "results/card.md").read_text().endswith("More words.\n")
