"""Results that are kept beside those of other runs."""

from pathlib import Path

import project
import pyarrow.parquet as pq


def _keep(at: Path, *names: str) -> str:
    done = project.run(at, "python", "-m", "tools.keep", *names)
    return done.stderr if done.returncode else ""


def test_results_are_kept_whole_and_without_the_datas_texts(another: Path) -> None:
    assert _keep(another, "first-run") == ""
    kept = another / "results/first-run"
    names = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    made = ("baseline", "final", "prepare", "samples", "sft")
    metrics = {f"metrics/{name}.json" for name in made}
    files = {"answers.md", "chart.svg", "comparison.json", "params.yaml", "table.md"}
    assert names == files | metrics
    for name in ("table.md", "chart.svg", "metrics/final.json"):
        assert (kept / name).read_bytes() == (another / "results" / name).read_bytes()
    text = (kept / "answers.md").read_text(encoding="utf-8")
    sampled = pq.read_table(another / "data/samples.parquet").to_pylist()
    for row in sampled:
        assert f"## Row {row['row']}\n" in text
        for model in ("base", "sft", "policy"):
            assert all(f"    {line}" in text for line in row[model].splitlines())
        assert row["question"] not in text
    assert text.count("## Row") == len(sampled) > 0


def test_a_second_time_changes_nothing_and_dvc_does_not_mind(another: Path) -> None:
    _keep(another, "again")
    project.git(another, "add", "results/again")
    _keep(another, "again")
    assert project.git(another, "diff", "--stat", "--", "results") == ""
    assert project.repro(another) == []


def test_a_name_of_the_pipelines_own_is_refused(another: Path) -> None:
    assert _keep(another, "metrics").startswith("error: KEEP=metrics: take a name of")
    assert _keep(another, "table.md").startswith("error: KEEP=table.md:")
    assert _keep(another, "../elsewhere").startswith("error: KEEP=../elsewhere:")
    (another / "data/samples.parquet").unlink()
    assert _keep(another, "x") == "error: data/samples.parquet is not there; run make repro first\n"
