"""From a raw split to prepared pairs: which rows are taken, and what is counted."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import data_helpers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import EOS, Rows, run_stage, write_params, write_raw, write_tokenizer
from tokenizers import Tokenizer
from tokenizers.models import BPE

from preference.core.errors import InputError
from preference.data import prepare, tokens
from preference.data.counts import Counts
from preference.data.encoding import Encoder
from preference.data.formats import conversations, hh, labelled, ranked
from preference.data.formats.example import Example, Turn, Unusable
from preference.data.leakage import Seen
from preference.data.prepare import RawTable
from preference.data.sources import registry
from preference.store import examples, tables, texts
from preference.store.examples import Examples

HEAD = "\n\nHuman: Where?\n\nAssistant:"
GOOD = (f"{HEAD} At the gate.", f"{HEAD} No.")
NO_PROMPT = ("Yes.", "No.")
NO_CHOSEN = (f"{HEAD} ", f"{HEAD} No.")
NO_REJECTED = (f"{HEAD} Yes.", f"{HEAD} ")
DIFFERENT = (f"a{HEAD} Yes.", f"b{HEAD} No.")
ROWS = [
    GOOD,
    NO_PROMPT,
    NO_CHOSEN,
    GOOD,
    GOOD,
    DIFFERENT,
    NO_CHOSEN,
    GOOD,
    GOOD,
    NO_REJECTED,
    GOOD,
    NO_PROMPT,
]
USABLE = [0, 3, 4, 7, 8, 10]
# The lossy tokenizer keeps nothing of the first and something of the second.
LOST = ("x y", "x z")
KEPT = (f"{HEAD} a", f"{HEAD} b")
NONE_SKIPPED = dict.fromkeys((reason.value for reason in hh.REASONS), 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("base"), eos_token=EOS)


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that drops every letter but a and b."""
    directory = tmp_path_factory.mktemp("lossy")
    tokenizer = Tokenizer(BPE(vocab={EOS: 0, "a": 1, "b": 2}, merges=[]))
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS}))
    return directory


def run(raw: Path, out: Path, base: Path, wanted: int | None = None, **changes: object) -> Counts:
    """What prepare does, with some params of data set to other values."""
    settings = data_helpers.data(**changes)
    table, loaded = RawTable(raw, settings), tokens.load(base)
    encoder = Encoder(loaded, settings, table.template)
    return prepare.prepare(table, out, encoder, wanted=wanted, seen=Seen())


def prepared(
    directory: Path, base: Path, rows: Rows, pairs: int | None = None, **changes: object
) -> tuple[Counts, Examples]:
    raw = write_raw(directory / "raw.parquet", rows)
    out = directory / "prepared.parquet"
    counts = run(raw, out, base, pairs, **changes)
    return counts, examples.read(out)


def parts(found: Examples) -> list[np.ndarray]:
    index = found.index
    ragged = (array for rows in (found.prompts, found.responses) for array in vars(rows).values())
    return [*vars(index).values(), *ragged, found.prompt_tokens]


@pytest.mark.parametrize("batch_rows", [1, 3, 4, 5, 1_000])
@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 6, 7, None])
def test_the_first_usable_pairs_are_taken_and_nothing_is_read_after_them(
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_rows: int,
    wanted: int | None,
) -> None:
    monkeypatch.setattr(prepare, "BATCH_ROWS", batch_rows)
    counts, pairs = prepared(tmp_path, base, ROWS, wanted)
    rows = USABLE[:wanted]
    enough = wanted is not None and wanted <= len(USABLE)
    assert pairs.index.pair_rows.tolist() == rows
    assert counts.pairs == len(rows)
    assert counts.rows_read == (rows[-1] + 1 if enough else len(ROWS))
    assert counts.skipped_rows == [row for row in range(counts.rows_read) if row not in rows]


def test_skipped_rows_are_counted_by_reason(tmp_path: Path, base: Path) -> None:
    counts, _ = prepared(tmp_path, base, ROWS)
    assert counts.skipped == NONE_SKIPPED | {
        "prompts_differ": 1,
        "empty_prompt": 2,
        "empty_chosen": 2,
        "empty_rejected": 1,
    }
    assert counts.skipped_rows == [1, 2, 5, 6, 9, 11]
    assert sum(counts.skipped.values()) + counts.pairs == counts.rows_read


def test_only_the_first_skipped_rows_are_named(tmp_path: Path, base: Path) -> None:
    counts, _ = prepared(tmp_path, base, [NO_PROMPT] * 30 + [GOOD])
    assert counts.skipped["empty_prompt"] == 30
    assert counts.skipped_rows == list(range(20))


@pytest.mark.parametrize("batch_rows", [1, 1_000])
def test_tokens_are_counted_as_kept(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(prepare, "BATCH_ROWS", batch_rows)
    rows = [GOOD, (f"{HEAD} At the market, at the gate.", f"{HEAD} Here."), NO_PROMPT]
    for max_length, truncated in ((64, 0), (14, 2)):
        counts, pairs = prepared(tmp_path, base, rows, max_length=max_length)
        assert counts.prompt_tokens == pairs.prompts.lengths.sum()
        assert counts.chosen_tokens == pairs.responses.lengths[0::2].sum()
        assert counts.rejected_tokens == pairs.responses.lengths[1::2].sum()
        assert counts.truncated_pairs == truncated
        assert pairs.longest <= max_length


def test_pairs_that_the_tokenizer_leaves_nothing_of_are_skipped(
    tmp_path: Path, lossy: Path
) -> None:
    counts, pairs = prepared(tmp_path, lossy, [LOST, KEPT, NO_CHOSEN, LOST, KEPT])
    assert pairs.index.pair_rows.tolist() == [1, 4]
    assert counts.skipped == NONE_SKIPPED | {"empty_chosen": 1, "no_tokens": 2}
    assert counts.rows_read == 5


@pytest.mark.parametrize("batch_rows", [1, 2, 1_000])
def test_pairs_without_tokens_do_not_count_among_the_first(
    tmp_path: Path, lossy: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(prepare, "BATCH_ROWS", batch_rows)
    counts, pairs = prepared(tmp_path, lossy, [LOST, KEPT, LOST, KEPT, KEPT, KEPT], 3)
    assert pairs.index.pair_rows.tolist() == [1, 3, 4]
    assert counts.rows_read == 5
    assert counts.skipped_rows == [0, 2]


def test_skipped_rows_are_named_in_file_order(tmp_path: Path, lossy: Path) -> None:
    counts, _ = prepared(tmp_path, lossy, [LOST, NO_PROMPT, LOST, KEPT])
    assert counts.skipped_rows == [0, 1, 2]


def test_a_split_without_a_usable_pair_is_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(InputError, match=r"none of its 3 rows gives a usable example") as caught:
        prepared(tmp_path, base, [NO_PROMPT, NO_CHOSEN, NO_PROMPT])
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "raw.parquet"))
    assert "2 empty_prompt, 1 empty_chosen" in message
    assert "check data.source" in message


def test_a_missing_raw_table_is_refused_with_what_to_do(tmp_path: Path, base: Path) -> None:
    raw, out = tmp_path / "raw.parquet", tmp_path / "prepared.parquet"
    with pytest.raises(InputError, match="no such file") as caught:
        run(raw, out, base, 1)
    assert "dvc repro" in str(caught.value)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory in which the stage can run: params, raw data, a tokenizer."""
    write_params(tmp_path / "params.yaml", {"data.train_pairs": 4, "data.eval_pairs": 10})
    write_raw(tmp_path / "data/raw/train.parquet", ROWS)
    write_raw(tmp_path / "data/raw/test.parquet", ROWS)
    write_tokenizer(tmp_path / "models/base", eos_token=EOS)
    return tmp_path


def test_the_stage_writes_tables_and_counts(project: Path) -> None:
    done = run_stage("prepare", project)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((project / "results/metrics/prepare.json").read_text())
    assert list(metrics) == ["train", "test"]
    for split, read, used in (("train", 8, 4), ("test", 12, 6)):
        table = pq.read_table(project / f"data/prepared/{split}.parquet")
        assert table.schema.equals(tables.PREPARED)
        assert table.num_rows == metrics[split]["pairs"] == used
        assert metrics[split]["rows_read"] == read
        assert set(metrics[split]["skipped"]) == set(hh.REASONS)
        assert metrics[split]["prompt_tokens"] > metrics[split]["chosen_tokens"] > 0
        metadata = pq.read_schema(project / f"data/prepared/{split}.parquet").metadata
        assert metadata[b"template"] == metrics[split]["template"].encode() == b"hh"
        assert metadata[b"end"] == b"0"
    warning = "data/prepared/test.parquet: has 6 examples, fewer than the 10 asked for"
    assert warning in done.stderr
    assert "train.parquet: has" not in done.stderr


def test_a_failed_stage_leaves_the_earlier_result(project: Path) -> None:
    earlier = write_raw(project / "data/prepared/train.parquet", ROWS)
    before = earlier.read_bytes()
    write_raw(project / "data/raw/test.parquet", [NO_PROMPT])
    done = run_stage("prepare", project)
    assert done.returncode == 1
    assert "error: data/raw/test.parquet: none of its 1 rows" in done.stderr
    assert "Traceback" not in done.stderr
    assert earlier.read_bytes() == before
    assert sorted(path.name for path in (project / "data").iterdir()) == ["prepared", "raw"]
    assert not (project / "results/metrics/prepare.json").exists()


def test_a_damaged_raw_table_is_named(tmp_path: Path, base: Path) -> None:
    raw = write_raw(tmp_path / "raw.parquet", [GOOD])
    content = raw.read_bytes()
    for wrong in (content[:-1] + b"2", content[:100], b""):
        raw.write_bytes(wrong)
        with pytest.raises(InputError, match=f"{raw}: not readable as Parquet.*make check-cache"):
            run(raw, tmp_path / "out", base)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "bits", [(5,), pytest.param((0, 1, 2, 3, 4, 6, 7), marks=pytest.mark.long)], ids=str
)
def test_damage_in_a_page_header_gives_no_wrong_pair(
    bits: tuple[int, ...], tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where fewer pairs are wanted than the table has, so that its end is never read."""
    monkeypatch.setattr(prepare, "BATCH_ROWS", 10)
    rows = [(f"{HEAD} yes {i}.", f"{HEAD} no {i}.") for i in range(40)]
    raw, out = tmp_path / "raw.parquet", tmp_path / "prepared.parquet"
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = pa.table(columns, schema=tables.RAW)
    pq.write_table(table, raw, row_group_size=10, write_page_checksum=True)

    def prepared() -> tuple[object, ...]:
        run(raw, out, base, 15)
        found = parts(examples.read(out))
        return [part.tolist() for part in found if part is not None], texts.read(out)

    expected, whole, refused = prepared(), raw.read_bytes(), 0
    with pq.ParquetFile(raw) as file:
        end = 4 + file.metadata.row_group(0).column(0).total_compressed_size
    for at in range(4, end):
        for bit in bits:
            raw.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            try:
                assert prepared() == expected, (at, bit)
            except InputError:
                refused += 1
    assert refused > 12 * len(bits)


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=tables.CONVERSATIONS), path)
    return path


@pytest.mark.parametrize(
    ("wanted", "rows", "pairs"), [(None, 3, 7), (7, 3, 7), (5, 2, 5), (2, 1, 2)]
)
def test_rankings_give_pairs_and_the_last_is_cut(
    wanted: int | None, rows: int, pairs: int, tmp_path: Path, base: Path
) -> None:
    """Three responses in three pairs, in three pairs, and two of them as good in two."""
    scores = [[2.0, 0.0, 1.0], [3.0, 4.0, 5.0], [1.0, 1.0]]
    table = [
        ranked.read({"prompt": f"Which? {i}", "completions": list("abc")[: len(s)], "scores": s})
        for i, s in enumerate([*scores[:2], [7.0, 1.0]])
    ]
    raw, out = write_table(tmp_path / "raw", table), tmp_path / "out"
    counts = run(raw, out, base, wanted)
    found = examples.read(out)
    assert (counts.rows_read, counts.pairs) == (rows, pairs)
    expected = [(0, 2), (0, 1), (2, 1), (5, 4), (5, 3), (4, 3), (6, 7)]
    assert [tuple(pair) for pair in found.index.pairs.tolist()] == expected[:pairs]
    lengths = found.responses.lengths[found.index.pairs]
    assert [counts.chosen_tokens, counts.rejected_tokens] == lengths.sum(axis=0).tolist()
    reasons = [*conversations.REASONS, Unusable.NO_TOKENS]
    assert counts.skipped == dict.fromkeys((reason.value for reason in reasons), 0)
    assert counts.template == "none"
    assert counts.labelled_responses is None


def test_labelled_responses_are_counted_by_themselves(tmp_path: Path, base: Path) -> None:
    row = {"prompt": "Where is it, after all?", "completion": "Here.", "label": True}
    table = [
        {**row, "weight": 0.5},
        {**row, "completion": " ", "weight": None},
        {**row, "label": False, "weight": None},
        {**row, "completion": "There, at the gate.", "weight": 2.0},
    ]
    raw, out = write_table(tmp_path / "raw", list(map(labelled.read, table))), tmp_path / "out"
    counts = run(raw, out, base, 2, max_length=12)
    assert (counts.rows_read, counts.labelled_responses, counts.pairs) == (3, 2, 0)
    assert counts.truncated_labelled == 2
    index = examples.read(out).index
    assert index.labels.tolist() == [1, 0]
    assert index.weights.tolist() == [0.5, 1.0]
    assert index.rows.tolist() == [0, 2]
    assert counts.as_dict()["labelled_responses"] == 2


def test_weights_and_margins_of_pairs_come_along_and_nothing_else_does(tmp_path: Path) -> None:
    data_helpers.write_tokenizer(tmp_path / "base", eos_token=data_helpers.EOS)
    pairs = [{"prompt": f"Where? {i}", "chosen": "Here.", "rejected": "No."} for i in range(4)]
    plain = data_helpers.prepared(pairs, tmp_path).index
    assert pq.read_schema(tmp_path / "prepared.parquet").names == tables.PREPARED.names
    given = [(0.5, None), (None, 1.5), (2.0, -1.0), (None, None)]
    rows = [
        row | {"weight": weight, "margin": margin}
        for row, (weight, margin) in zip(pairs, given, strict=True)
    ]
    found = data_helpers.prepared(rows, tmp_path).index
    assert (plain.pair_weights, plain.margins) == (None, None)
    assert found.pair_weights is not None
    assert found.margins is not None
    assert found.pair_weights.tolist() == [0.5, 1.0, 2.0, 1.0]
    assert found.margins.tolist() == [0.0, 1.5, -1.0, 0.0]
    assert replace(found, pair_weights=None, margins=None).same_as(plain)


def test_scores_are_margins_where_they_are_asked_for(tmp_path: Path) -> None:
    data_helpers.write_tokenizer(tmp_path / "base", eos_token=data_helpers.EOS)
    rows = [{"prompt": "Which?", "completions": ["a", "b", "c"], "scores": [1.0, 4.0, 2.5]}]
    plain = data_helpers.prepared(rows, tmp_path).index
    assert plain.margins is None
    found = data_helpers.prepared(rows, tmp_path, rankings={"margin": "scores"}).index
    assert found.pairs.tolist() == plain.pairs.tolist() == [[1, 2], [1, 0], [2, 0]]
    assert found.margins is not None
    assert found.margins.tolist() == [1.5, 3.0, 1.5]


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": None},
        {"responses": None},
        {"responses": ["a", None]},
        {"unusable": "no reason"},
        {"prompt": [{"role": "user", "content": None}]},
        {"scores": [1.0]},
        {"scores": [1.0, float("nan")]},
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    changes: dict[str, object], tmp_path: Path, base: Path
) -> None:
    good = conversations.row([Turn("", "Which?")], ["a", "b"], scores=[1.0, 2.0])
    raw = write_table(tmp_path / "raw", [good, good | changes])
    with pytest.raises(InputError, match=f"{raw}, row 1: .*mend it"):
        run(raw, tmp_path / "out", base)


def test_a_raw_table_says_what_its_rows_are(tmp_path: Path, base: Path) -> None:
    """Whether the data lay prompts out themselves, and how; with what fetch-data says of them."""
    text = conversations.row([Turn("", "Which?")], ["a", "b"])
    turns = conversations.row([Turn("user", "Which?")], ["a", "b"])
    bad = conversations.unusable(Unusable.SEVERAL_TURNS)
    for rows, template in (([bad, text], "none"), ([bad, turns], "chat"), ([bad], "none")):
        table = RawTable(write_table(tmp_path / "raw", rows), data_helpers.data())
        assert (table.template, table.rows) == (template, len(rows))
        assert (table.source, table.format) == ("unknown", "unknown")
        found = [example for _, example in table.examples()]
        assert found[0] is Unusable.SEVERAL_TURNS
        assert all(isinstance(one, Example) for one in found[1:])
    raw = tmp_path / "raw.parquet"
    schema = tables.RAW.with_metadata({tables.SOURCE: "demo", tables.FORMAT: "dialogues"})
    with tables.writing(raw, schema) as writer:
        writer.write_table(pa.Table.from_pylist([dict(zip(tables.RAW.names, GOOD, strict=True))]))
    dialogues = RawTable(raw, data_helpers.data())
    assert (dialogues.template, dialogues.source, dialogues.format) == ("hh", "demo", "dialogues")
    counts = run(raw, tmp_path / "out", base)
    assert (counts.format, counts.template) == ("dialogues", "hh")
    assert examples.read(tmp_path / "out").source == "demo"


@pytest.mark.parametrize(("more", "refused"), [(0, True), (1, False)])
def test_data_of_which_most_prompts_are_a_guess_are_refused(
    more: int, refused: bool, tmp_path: Path, base: Path
) -> None:
    rows = [GOOD] * (1 + more) + [("It is good", "It is bad")] * 2
    if refused:
        with pytest.raises(InputError, match="2 of 3 examples have no Assistant: marker"):
            prepared(tmp_path, base, rows)
    else:
        prepared(tmp_path, base, rows)
    counts, _ = prepared(tmp_path, base, rows, format="dialogues")
    assert counts.common_prefix == 2


def test_messages_without_a_chat_template_are_refused_with_what_to_do(
    tmp_path: Path, base: Path
) -> None:
    row = conversations.row([Turn("user", "Which?")], ["a", "b"])
    raw = write_table(tmp_path / "raw", [row])
    with pytest.raises(InputError, match=r"data\.template: auto takes the chat template"):
        run(raw, tmp_path / "out", base)
    assert run(raw, tmp_path / "out", base, template="hh").template == "hh"
    prompt = texts.read(tmp_path / "out")[0].prompt
    assert prompt == "\n\nHuman: Which?\n\nAssistant:"


def test_what_is_judged_to_be_of_another_split_is_not_counted(tmp_path: Path, base: Path) -> None:
    raw, out = write_raw(tmp_path / "raw.parquet", [GOOD, KEPT, GOOD]), tmp_path / "out"
    settings = data_helpers.data()
    table = RawTable(raw, settings)

    def prepared(other: Unusable | bool) -> Counts:
        return prepare.prepare(
            table,
            out,
            Encoder(tokens.load(base), settings, table.template),
            wanted=None,
            seen=Seen(),
            judge=lambda example: example.responses[0] == "a" or other,
        )

    elsewhere, unused = prepared(other=False), prepared(Unusable.IN_TEST)
    assert (elsewhere.pairs, elsewhere.rows_read, elsewhere.skipped_rows) == (1, 3, [])
    assert (unused.pairs, unused.skipped["in_test"], unused.skipped_rows) == (1, 2, [0, 2])


def test_the_published_evaluation_set_is_found(tmp_path: Path, base: Path) -> None:
    # A directory with hh-rlhf's harmless-base, which this project does not ship.
    directory = os.environ.get("HH_RLHF", "")
    if not (directory and Path(directory).is_dir()):
        pytest.skip("HH_RLHF names no directory")
    data = data_helpers.data(source=directory)
    table = [row for batch in registry.raw(data, "test")[1] for row in batch.to_pylist()]
    rows = [(row["chosen"], row["rejected"]) for row in table]
    counts, pairs = prepared(tmp_path, base, rows, pairs=1_000, max_length=512)
    assert counts.pairs == 1_000
    assert counts.rows_read == 1_003
    assert counts.skipped_rows == [86, 516, 925]
    assert pairs.index.pair_rows[-1] == 1_002


def test_splits_that_auto_lays_out_in_different_ways_are_refused(tmp_path: Path) -> None:
    settings = data_helpers.data()
    row = conversations.row([Turn("user", "Which?")], ["a", "b"])
    dialogues = RawTable(write_raw(tmp_path / "train.parquet", [GOOD]), settings)
    messages = RawTable(write_table(tmp_path / "test.parquet", [row]), settings)
    with pytest.raises(InputError, match=r"data\.template: auto .*train.*: hh, .*test.*: chat"):
        prepare.require_one_template([dialogues, messages], settings)
    said = data_helpers.data(template="hh")
    assert prepare.require_one_template([dialogues, messages], said) == "hh"
    assert prepare.require_one_template([messages], settings) == "chat"


def test_a_whole_batch_without_a_usable_row_stops_nothing(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "BATCH_ROWS", 2)
    lone = (f"{HEAD} {EOS}", f"{HEAD} no")
    raw, out = write_raw(tmp_path / "raw.parquet", [lone, lone, GOOD]), tmp_path / "out"
    counts = run(raw, out, base)
    assert (counts.pairs, counts.skipped["empty_response"], counts.rows_read) == (1, 2, 3)
    assert examples.read(out).index.rows.tolist() == [2]
