"""Every format in files of every kind, as fetch-data and prepare read them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hub_standin
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import ROOT, patient, write_params
from datasets import Dataset
from format_cases import (
    ASKED,
    GOOD,
    HH,
    KINDS,
    KTO,
    MESSAGES,
    RANKED,
    SYSTEM,
    TEXTS,
    assistant,
    comma_separated,
    gpt,
    human,
    lines,
    pair,
    read,
    refused,
    table,
    user,
    write,
)
from hub_standin import COMMIT
from hypothesis import given, settings
from hypothesis import strategies as st

from preference.data.formats.example import Example, Turn, Unusable


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", GOOD)
def test_a_format_gives_the_same_in_every_kind_of_file(
    case: str, kind: str, tmp_path: Path
) -> None:
    rows, changes, expected = GOOD[case]
    assert read(write(tmp_path / "own", rows, kind), **changes) == expected


odd = st.text(max_size=6) | st.sampled_from(["[", '[{"role": "', "{}", "null", "1", "\r\n", " "])
said = st.lists(st.tuples(odd, odd), max_size=2)


@settings(patient, max_examples=12)
@given(odd, said, st.lists(st.tuples(odd, odd), min_size=1, max_size=3))
@pytest.mark.parametrize("kind", KINDS)
def test_any_messages_survive_any_file(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    question: str,
    before: list[tuple[str, str]],
    answers: list[tuple[str, str]],
) -> None:
    turns = [one for asked, told in before for one in (user(asked), assistant(told))]
    prompt = [*turns, user(f"?{question}")]
    rows = [
        {"prompt": prompt, "chosen": [assistant(f"a{a}")], "rejected": [assistant(f"b{b}")]}
        for a, b in answers
    ]
    place = write(tmp_path_factory.mktemp("any") / "own", rows, kind)
    said_ = tuple(Turn(**turn) for turn in prompt)
    assert read(place) == [pair(said_, f"a{a}", f"b{b}") for a, b in answers]


@settings(patient, max_examples=12)
@given(st.lists(st.tuples(odd, odd, odd), min_size=1, max_size=3))
@pytest.mark.parametrize("kind", KINDS)
def test_any_texts_survive_any_file(
    tmp_path_factory: pytest.TempPathFactory, kind: str, rows: list[tuple[str, str, str]]
) -> None:
    written = [
        {"prompt": f"?{prompt}", "chosen": f"{a}a", "rejected": f"{b}b"} for prompt, a, b in rows
    ]
    place = write(tmp_path_factory.mktemp("any") / "own", written, kind)
    expected = [
        pair([Turn("user", row["prompt"])], row["chosen"], row["rejected"], text=row["prompt"])
        for row in written
    ]
    assert read(place) == expected


# What is no example, but no fault of the file: counted.
COUNTED: dict[str, tuple[dict[str, Any], Unusable]] = {
    "no prompt": (TEXTS | {"prompt": " "}, Unusable.EMPTY_PROMPT),
    "no answer": (TEXTS | {"rejected": "\n"}, Unusable.EMPTY_RESPONSE),
    "no messages": (MESSAGES | {"chosen": []}, Unusable.EMPTY_RESPONSE),
    "a missing turn": (MESSAGES | {"chosen": [user("Where?")]}, Unusable.ROLE_ORDER),
    "an answer of the user's": (
        MESSAGES | {"chosen": [user("Where?"), user("Here?")]},
        Unusable.ROLE_ORDER,
    ),
    "an empty answer": (
        MESSAGES | {"chosen": [user("Where?"), assistant(" ")]},
        Unusable.EMPTY_RESPONSE,
    ),
    "other questions": (
        MESSAGES | {"chosen": [user("When?"), assistant("Now.")]},
        Unusable.PROMPTS_DIFFER,
    ),
    "answers of several turns": (
        MESSAGES | {"chosen": [*MESSAGES["chosen"], user("So?"), assistant("So.")]},
        Unusable.SEVERAL_TURNS,
    ),
    "a prompt that ends with the assistant": (
        {side: [user("Where?"), assistant("Hm."), *MESSAGES[side][1:]] for side in MESSAGES},
        Unusable.ROLE_ORDER,
    ),
    "a prompt of the system alone": (
        {side: [SYSTEM, *MESSAGES[side][1:]] for side in MESSAGES},
        Unusable.ROLE_ORDER,
    ),
    "nobody's question": ({side: MESSAGES[side][1:] for side in MESSAGES}, Unusable.EMPTY_PROMPT),
    "an image": (
        MESSAGES
        | {"chosen": [user("Where?"), {"role": "assistant", "content": [{"type": "image"}]}]},
        Unusable.MORE_THAN_TEXT,
    ),
    "a call of a tool": (
        MESSAGES
        | {
            "chosen": [
                user("Where?"),
                {"role": "assistant", "content": None, "tool_calls": [{"name": "find"}]},
            ]
        },
        Unusable.MORE_THAN_TEXT,
    ),
    "ShareGPT's call": (
        MESSAGES | {"chosen": [human("Where?"), {"from": "function_call", "value": "find()"}]},
        Unusable.MORE_THAN_TEXT,
    ),
    "an empty completion": (KTO | {"completion": ""}, Unusable.EMPTY_RESPONSE),
    "messages that end with the user": (
        {"messages": [user("Where?")], "label": True},
        Unusable.ROLE_ORDER,
    ),
    "one to be ranked": (RANKED | {"completions": ["a"], "scores": [1.0]}, Unusable.NO_PREFERENCE),
    "none to be ranked": (RANKED | {"completions": [], "scores": []}, Unusable.NO_PREFERENCE),
    "equal scores": (RANKED | {"scores": [1.0, 1.0]}, Unusable.NO_PREFERENCE),
}


@pytest.mark.parametrize("case", COUNTED)
def test_a_row_without_example_is_counted_by_reason(case: str, tmp_path: Path) -> None:
    row, reason = COUNTED[case]
    (found,) = read(write(tmp_path / "own", [row]))
    assert found is reason or found == reason


# What is malformed, by a row that is read before it; and what is said of it.
MALFORMED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "null for a dialogue": (
        {"chosen": HH, "rejected": HH},
        {"chosen": None, "rejected": HH},
        "column 'chosen' must be text, but is null",
    ),
    "a column that is missing": (TEXTS, {"prompt": "a", "chosen": "b"}, "no column 'rejected'"),
    "a number for text": (
        TEXTS,
        TEXTS | {"chosen": 7},
        "'chosen': expected text or messages, not 7",
    ),
    "null for messages": (
        MESSAGES,
        MESSAGES | {"rejected": None},
        "column 'rejected': expected text or messages, not null",
    ),
    "text among messages": (
        MESSAGES,
        MESSAGES | {"chosen": "Here."},
        "column 'chosen' is text here, and messages in rows before",
    ),
    "messages among text": (
        TEXTS,
        TEXTS | {"prompt": [user("Where?")]},
        "column 'prompt' is messages here, and text in rows before",
    ),
    "messages as JSON among text": (
        TEXTS,
        TEXTS | {"chosen": json.dumps([assistant("Here.")])},
        "column 'chosen' is messages here, and text in rows before",
    ),
    "messages as Python": (
        TEXTS,
        TEXTS | {"chosen": str([assistant("Here.")])},
        "spells messages, but not as JSON",
    ),
    "an unknown role": (
        MESSAGES,
        MESSAGES | {"chosen": [user("Where?"), {"role": "bot", "content": "a"}]},
        "column 'chosen': message 1: role 'bot' is none of system, developer, user",
    ),
    "no role": (
        MESSAGES,
        MESSAGES | {"chosen": [{"speaker": "user", "content": "a"}]},
        "column 'chosen': message 0: no role (it has speaker, content)",
    ),
    "a null role": (
        MESSAGES,
        MESSAGES | {"chosen": [{"role": None, "content": "a"}]},
        "column 'chosen': message 0: no role (it has content)",
    ),
    "a number as content": (
        MESSAGES,
        MESSAGES | {"chosen": [user("Where?"), {"role": "assistant", "content": 7}]},
        "column 'chosen': message 1: content must be text, but is 7",
    ),
    "null as content": (
        MESSAGES,
        MESSAGES | {"chosen": [user("Where?"), {"role": "assistant", "content": None}]},
        "column 'chosen': message 1: content must be text, but is null",
    ),
    "a part without type": (
        MESSAGES,
        MESSAGES | {"chosen": [{"role": "user", "content": [{"text": "a"}]}]},
        "content: expected parts with a type",
    ),
    "a part without text": (
        MESSAGES,
        MESSAGES | {"chosen": [{"role": "user", "content": [{"type": "text"}]}]},
        "content: a part of type text needs one text",
    ),
    "a message that is text": (
        MESSAGES,
        MESSAGES | {"chosen": [user("Where?"), "Here."]},
        "column 'chosen': message 1: expected a role and its content, not 'Here.'",
    ),
    "another prompt": (
        {"prompt": "Where?", **MESSAGES},
        {"prompt": "When?", **MESSAGES},
        "prompt is not what both dialogues begin with",
    ),
    "a label in words": (
        KTO,
        KTO | {"label": "yes"},
        "'label' must be true or false, but is 'yes'",
    ),
    "no label": (KTO, KTO | {"label": None}, "'label' must be true or false, but is null"),
    "a label of three": (KTO, KTO | {"label": 2}, "'label' must be true or false, but is 2"),
    "a negative weight": (KTO, KTO | {"weight": -1}, "'weight' must be 0 or more, but is -1"),
    "a weight of no number": (
        KTO,
        KTO | {"weight": float("nan")},
        "'weight' must be 0 or more, but is nan",
    ),
    "a weight too large": (KTO, KTO | {"weight": 1e39}, "'weight' must be 0 or more, but is 1e+39"),
    "messages beside a completion": (
        KTO,
        KTO | {"messages": [user("Where?"), assistant("Here.")]},
        "messages beside a prompt or completion would be read in two ways",
    ),
    "scores of another length": (
        RANKED,
        RANKED | {"scores": [1.0]},
        "2 completions have 1 scores",
    ),
    "a score that is no number": (
        RANKED,
        RANKED | {"scores": [1.0, float("nan")]},
        "scores must be finite",
    ),
    "a null score": (
        RANKED,
        RANKED | {"scores": [1.0, None]},
        "'scores' must be a list of numbers",
    ),
    "a score of true": (
        RANKED,
        RANKED | {"scores": [1.0, True]},
        "'scores' must be a list of numbers",
    ),
    "a score beyond floats": (RANKED, RANKED | {"scores": [1.0, 10**400]}, "too large"),
    "completions that are text": (
        RANKED,
        RANKED | {"completions": "ab"},
        "'completions' must be a list, but is 'ab'",
    ),
    "half of a surrogate pair": (
        TEXTS,
        TEXTS | {"chosen": "\ud800"},
        "half of a surrogate pair",
    ),
    "half of one in a prompt": (
        MESSAGES | {"prompt": [user("Where?")]},
        {"prompt": [user("\ud800")], "chosen": [assistant("a")], "rejected": [assistant("b")]},
        "half of a surrogate pair",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_row_stops_with_its_line(case: str, tmp_path: Path) -> None:
    good, bad, problem = MALFORMED[case]
    path = tmp_path / "own" / "train.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, bad, good)))
    message = refused(path.parent)
    assert message.startswith(f"{path}, line 2: ")
    assert problem in message
    assert any(advice in message for advice in ("mend or remove", "data.columns"))


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    place = write(tmp_path / "own", [TEXTS], "csv")
    (file,) = place.iterdir()
    file.write_bytes(file.read_bytes().replace(b"prompt", b"chosen"))
    assert f"{file}, line 1: names the column 'chosen' twice" in refused(place)
    file.unlink()
    columns = pa.table([["a"], ["b"], ["c"]], names=["chosen", "chosen", "rejected"])
    pq.write_table(columns, place / "train.parquet")
    assert "train.parquet: has two columns 'chosen'" in refused(place)


BESIDE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a prompt": (TEXTS, {"system_prompt": "Be kind."}, "a prompt or a part of one"),
    "a prompt of dialogues": (
        {"chosen": HH, "rejected": HH},
        {"question": "Where?"},
        "a prompt or a part of one",
    ),
    "tools": (MESSAGES, {"tools": [{"name": "find"}]}, "a prompt or a part of one"),
    "a label": (TEXTS, {"label": False}, "a label"),
    "a score": (MESSAGES, {"score_chosen": 3}, "a score"),
    "ratings": (MESSAGES, {"Chosen-Ratings": [3]}, "a score"),
}


@pytest.mark.parametrize("case", BESIDE)
@pytest.mark.parametrize("from_row", [1, 2])
def test_a_column_that_seems_to_matter_is_not_left_out(
    case: str, from_row: int, tmp_path: Path
) -> None:
    row, more, what = BESIDE[case]
    (name,) = more
    rows = [row | more if number >= from_row else row for number in range(1, 4)]
    place = write(tmp_path / "own", rows)
    message = refused(place)
    assert f"train.jsonl, line {from_row}: column {name!r} looks like {what}" in message
    assert f"{{ignore: {name}}}" in message
    assert len(read(place, columns={"ignore": name})) == 3


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": "ranked"}, "no columns 'completions', 'scores' (it has prompt, chosen"),
        ({"format": "labelled"}, "no columns 'completion', 'label' (it has prompt, chosen"),
        ({"format": "dialogues"}, "column 'prompt' looks like"),
        (
            {"columns": {"prompt": ["a", "prompt", "b"]}},
            "no columns 'a', 'b' (it has prompt, chosen",
        ),
        (
            {"columns": {"chosen": "better"}},
            "no column 'better' (it has prompt, chosen, rejected, id)",
        ),
        ({"columns": {"completion": "chosen"}}, "are those of no format"),
        ({"columns": {"label": "id"}}, "the format preference does not use label, but prompt"),
    ],
)
def test_a_wrong_format_or_column_names_what_is_there(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    place = write(tmp_path / "own", [TEXTS | {"id": 1}])
    message = refused(place, **changes)
    assert message.startswith(f"{place / 'train.jsonl'}, line 1: ")
    assert problem in message


def test_answers_that_begin_with_the_prompt_are_asked_about(tmp_path: Path) -> None:
    row = {"prompt": "To be", "chosen": "To be or not", "rejected": "To be quiet"}
    place = write(tmp_path / "own", [row])
    message = refused(place)
    assert "both begin with the prompt" in message
    (found,) = read(place, format="preference")
    assert found == pair([Turn("user", "To be")], row["chosen"], row["rejected"], text="To be")
    (found,) = read(place, columns={"ignore": "prompt"})
    assert isinstance(found, tuple)
    assert found[1] == ("or not", "quiet")


def test_null_keys_of_messages_count_as_absent(tmp_path: Path) -> None:
    """As Arrow has them, which gives all structs of a column the same keys."""
    part = {"type": "text", "text": "Here."}
    call = {"role": "assistant", "content": [part], "tool_calls": None, "weight": None}
    rows = [
        MESSAGES,
        {
            "chosen": [human("Where?"), gpt("Here.")],
            "rejected": [human("Where?"), gpt("No.") | {"tool_calls": [{"name": "find"}]}],
        },
    ]
    place = write(tmp_path / "own", rows, "parquet")
    assert read(place) == [pair([ASKED], "Here.", "No."), Unusable.MORE_THAN_TEXT]
    odd = [call, {"role": "assistant", "content": [{"type": "image", "image": "x"}]}]
    rows = [{"prompt": "Where?", "chosen": [one], "rejected": [call]} for one in odd]
    place = write(tmp_path / "parts", rows, "parquet")
    assert read(place) == [pair([ASKED], "Here.", "Here."), Unusable.MORE_THAN_TEXT]


def test_messages_as_json_text_are_messages(tmp_path: Path) -> None:
    rows = [{side: json.dumps(MESSAGES[side], indent=2) for side in MESSAGES}]
    for kind in ("csv", "jsonl", "parquet"):
        assert read(write(tmp_path / kind, rows, kind)) == [pair([ASKED], "Here.", "No.")]
    # An answer in JSON is an answer.
    row = TEXTS | {"chosen": '[{"value": 1}]', "rejected": '[{"role": "admin"}, {'}
    assert read(write(tmp_path / "answers", [row])) == [
        pair([ASKED], row["chosen"], row["rejected"], text="Where?")
    ]


def test_of_a_saved_dataset_the_files_that_it_names_are_read(tmp_path: Path) -> None:
    place = tmp_path / "own"
    rows = [TEXTS | {"prompt": f"Where {number}?"} for number in range(4)]
    half = Dataset(table(rows), split="train").train_test_split(0.5, seed=1)
    half.save_to_disk(str(place), num_shards={"train": 2, "test": 1})
    (place / "train" / "cache-1.arrow").write_bytes(b"of another run")
    splits = {split: read(place, split) for split in ("train", "test")}
    asked = [[one.text for one in splits[s] if isinstance(one, Example)] for s in splits]
    assert [len(texts) for texts in asked] == [2, 2]
    assert sorted(map(str, asked[0] + asked[1])) == [f"Where {number}?" for number in range(4)]
    # A split alone.
    assert read(place, source=str(place / "train")) == splits["train"]
    (place / "train" / "data-00001-of-00002.arrow").unlink()
    message = refused(place)
    assert "state.json: names data-00001-of-00002.arrow, which is not there" in message
    (place / "train" / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')
    assert "names ../x.arrow" in refused(place)
    (place / "train" / "state.json").write_text("{}")
    assert "state.json: not as datasets saves it" in refused(place)


def test_splits_of_other_names_are_not_mixed(tmp_path: Path) -> None:
    for name in ("train_prefs-00000-of-00001", "train_sft", "test_prefs"):
        (tmp_path / f"{name}.jsonl").write_bytes(lines([TEXTS | {"chosen": name}]))
    message = refused(tmp_path)
    assert "train may be train_prefs, train_sft" in message
    assert "data.splits" in message
    splits = {"train": "train_prefs", "test": "test_prefs"}
    chosen = [read(tmp_path, split, splits=splits) for split in ("train", "test")]
    assert [one[0][1][0] for one in chosen if isinstance(one[0], tuple)] == [
        "train_prefs-00000-of-00001",
        "test_prefs",
    ]
    both = [str(tmp_path / f"{name}.jsonl") for name in ("train_prefs-00000-of-00001", "train_sft")]
    assert len(read(tmp_path, source=both)) == 2


def test_hidden_copies_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "own", [TEXTS])
    for name in (".ipynb_checkpoints/train-checkpoint.jsonl", "__MACOSX/train.jsonl"):
        (tmp_path / "own" / name).parent.mkdir()
        (tmp_path / "own" / name).write_bytes(lines([TEXTS]))
    (tmp_path / "own" / "._train.jsonl").write_bytes(b"\0")
    assert len(read(tmp_path / "own")) == 1


CARD = """---
configs:
- config_name: one
  data_files:
  - {split: train_prefs, path: one/train*}
  - {split: test_prefs, path: one/test*}
- config_name: other
  data_files:
  - {split: train, path: other.csv}
---
"""


def test_configurations_and_splits_of_the_hub(tmp_path: Path) -> None:
    parquet = write(tmp_path / "own", [MESSAGES, MESSAGES], "parquet") / "train.parquet"
    repository = {
        "README.md": CARD.encode(),
        "one/train.parquet": parquet.read_bytes(),
        "one/test.parquet": parquet.read_bytes(),
        "other.csv": comma_separated([KTO]),
    }

    def fetched(**changes: object) -> subprocess.CompletedProcess[str]:
        data = {f"data.{name}": value for name, value in changes.items()}
        pinned = {"data.source": "some/data", "data.revision": COMMIT}
        write_params(tmp_path / "params.yaml", pinned | data)
        names = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        return subprocess.run(
            [sys.executable, "-m", "stages.fetch_data"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **names},
            capture_output=True,
            text=True,
            check=False,
        )

    with hub_standin.running({"datasets/some/data": repository}) as hub:
        none = fetched()
        wrong = fetched(name="one")
        done = fetched(name="one", splits={"train": "train_prefs", "test": "test_prefs"})
    assert "data.name None is none of its configurations: one, other" in none.stderr
    assert "has the splits train_prefs, test_prefs; set data.splits" in wrong.stderr
    assert done.returncode == 0, done.stderr
    raw = pq.read_table(tmp_path / "data/raw/train.parquet").to_pylist()
    assert [row["responses"] for row in raw] == [["Here.", "No."]] * 2
