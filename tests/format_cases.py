"""Rows of every format, written to files of every kind, and read as fetch-data and prepare do."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import PARAMS
from datasets import Dataset, DatasetDict

from preference.core.data_params import Data
from preference.core.errors import InputError
from preference.data.formats.example import Example, Turn, Unusable
from preference.data.prepare import RawTable
from preference.data.sources import registry
from preference.store import tables

Rows = Sequence[dict[str, Any]]
Read = list[Example | Unusable]


def settings(source: object, **changes: Any) -> Data:
    return Data.model_validate({**PARAMS["data"], "source": source, **changes})


def read(place: Path, split: str = "train", source: object = None, **changes: Any) -> Read:
    """What a split's rows give, through the raw table that fetch-data writes of them."""
    data = settings(source or str(place), **changes)
    found, batches = registry.raw(data, split)
    raw = place / ".raw.parquet"
    metadata = {tables.FORMAT: found.name}
    with tables.writing(raw, found.schema.with_metadata(metadata)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return [example for _, example in RawTable(raw, data).examples()]


def refused(place: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(place, **changes)
    return str(caught.value)


def lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: Rows) -> pa.Table:
    """With all columns that a row has, as Arrow makes them of rows."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def comma_separated(rows: Rows) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    for row in rows:
        texts = {n: v if isinstance(v, str | None) else json.dumps(v) for n, v in row.items()}
        writer.writerow(texts)
    return out.getvalue().encode()


def _stream(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, (found := table(rows)).schema) as writer:
        writer.write_table(found)
    return sink.getvalue().to_pybytes()


def _indexed(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, (found := table(rows)).schema) as writer:
        writer.write_table(found)
    return sink.getvalue().to_pybytes()


def _parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(rows), sink)
    return sink.getvalue().to_pybytes()


CONTENT: dict[str, tuple[str, Callable[[Rows], bytes]]] = {
    "jsonl": (".jsonl", lines),
    "jsonl.gz": (".jsonl.gz", lambda rows: gzip.compress(lines(rows))),
    "a list": (".json", lambda rows: json.dumps(rows).encode()),
    "a list under data": (".json", lambda rows: json.dumps({"version": 1, "data": rows}).encode()),
    "lines in .json": (".json", lines),
    "parquet": (".parquet", _parquet),
    "csv": (".csv", comma_separated),
    "arrow stream": (".arrow", _stream),
    "arrow file": (".arrow", _indexed),
}
KINDS = (*CONTENT, "saved")


def write(directory: Path, rows: Rows, kind: str = "jsonl") -> Path:
    """Write rows as the training split of a source, which is the directory."""
    directory.mkdir(exist_ok=True)
    if kind == "saved":
        dataset = Dataset(table(rows))
        DatasetDict(train=dataset, test=dataset.select([0])).save_to_disk(str(directory))
        return directory
    suffix, content = CONTENT[kind]
    (directory / f"train{suffix}").write_bytes(content(rows))
    return directory


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def human(value: str) -> dict[str, str]:
    return {"from": "human", "value": value}


def gpt(value: str) -> dict[str, str]:
    return {"from": "gpt", "value": value}


SYSTEM = {"role": "system", "content": "Be kind."}
ASKED, SAID, AGAIN = Turn("user", "Where?"), Turn("assistant", "Here."), Turn("user", "Sure?")


def pair(
    turns: Sequence[Turn],
    *responses: str,
    text: str | None = None,
    weight: float | None = None,
    margin: float | None = None,
) -> Example:
    said = [() if value is None else (value,) for value in (weight, margin)]
    example = Example(tuple(turns), responses, text, pairs=((0, 1),))
    return example._replace(pair_weights=said[0], margins=said[1])


def labelled(
    turns: Sequence[Turn], response: str, label: bool, weight: float | None, text: str | None = None
) -> Example:
    return Example(tuple(turns), (response,), text, labels=(label,), weights=(weight,))


# A row of some formats, for what is made of it.
TEXTS: dict[str, Any] = {"prompt": "Where?", "chosen": "Here.", "rejected": "No."}
MESSAGES: dict[str, Any] = {"chosen": [user("Where?"), assistant("Here.")]}
MESSAGES["rejected"] = [user("Where?"), assistant("No.")]
KTO: dict[str, Any] = {"prompt": "Where?", "completion": "Here.", "label": True}
RANKED: dict[str, Any] = {"prompt": "Where?", "completions": ["a", "b"], "scores": [1.0, 2.0]}

# A row of each way of writing each format, what params say of it, and the example that it gives.
Case = tuple[list[dict[str, Any]], dict[str, Any], list[Example | Unusable]]
HH = "\n\nHuman: Where?\n\nAssistant:"
GOOD: dict[str, Case] = {
    "whole dialogues": (
        [{"chosen": f"{HH} Here.", "rejected": f"{HH} No."}],
        {},
        [pair([ASKED], "Here.", "No.", text=HH)],
    ),
    "prompt and answers as text": (
        [{"prompt": "Where?\n", "chosen": "Here.", "rejected": "No."}],
        {},
        [pair([Turn("user", "Where?\n")], "Here.", "No.", text="Where?\n")],
    ),
    "pairs with weights and margins": (
        [
            {
                "prompt": "Where?",
                "chosen": f"Here, {row}.",
                "rejected": "No.",
                "weight": [0.5, None, 2.0][row],
                "margin": [None, -1.5, 3.0][row],
            }
            for row in range(3)
        ],
        {},
        [
            pair([ASKED], "Here, 0.", "No.", text="Where?", weight=0.5),
            pair([ASKED], "Here, 1.", "No.", text="Where?", margin=-1.5),
            pair([ASKED], "Here, 2.", "No.", text="Where?", weight=2.0, margin=3.0),
        ],
    ),
    "whole dialogues with margins of another name": (
        [
            {"chosen": f"{HH} Here.", "rejected": f"{HH} No.", "gap": 0.5},
            {"chosen": f"{HH} There.", "rejected": f"{HH} No.", "gap": None},
        ],
        {"columns": {"margin": "gap"}},
        [
            pair([ASKED], "Here.", "No.", text=HH, margin=0.5),
            pair([ASKED], "There.", "No.", text=HH),
        ],
    ),
    "prompt and answers as messages": (
        [
            {
                "prompt": [SYSTEM, user("Where?")],
                "chosen": [assistant("Here.")],
                "rejected": [assistant("No.")],
            }
        ],
        {},
        [pair([Turn("system", "Be kind."), ASKED], "Here.", "No.")],
    ),
    "prompt within both dialogues": (
        [
            {
                "chosen": [user("Where?"), assistant("Here."), user("Sure?"), assistant("Yes.")],
                "rejected": [user("Where?"), assistant("Here."), user("Sure?"), assistant("No.")],
            }
        ],
        {},
        [pair([ASKED, SAID, AGAIN], "Yes.", "No.")],
    ),
    "ShareGPT": (
        [
            {
                "conversations": [human("Where?"), gpt("Here."), human("Sure?")],
                "chosen": gpt("Yes."),
                "rejected": gpt("No."),
            }
        ],
        {},
        [pair([ASKED, SAID, AGAIN], "Yes.", "No.")],
    ),
    "typed parts": (
        [
            {
                "prompt": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": t} for t in ("Wh", "ere?")],
                    }
                ],
                "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "Here."}]}],
                "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "No."}]}],
            }
        ],
        {},
        [pair([ASKED], "Here.", "No.")],
    ),
    "UltraFeedback": (
        [
            {
                "prompt": "Where?",
                "prompt_id": "f0e3",
                "chosen": [user("Where?"), assistant("Here.")],
                "rejected": [user("Where?"), assistant("No.")],
                "messages": [user("Where?"), assistant("Here.")],
                "score_chosen": 9.0,
                "score_rejected": 7.5,
            },
            {
                "prompt": "Where?",
                "prompt_id": "f0e4",
                "chosen": [user("Where?"), assistant("Here."), user("Sure?"), assistant("Yes.")],
                "rejected": [user("Where?"), assistant("Here."), user("Sure?"), assistant("No.")],
                "messages": [user("Where?"), assistant("Here.")],
                "score_chosen": 9.0,
                "score_rejected": 7.5,
            },
        ],
        {"columns": {"ignore": ["messages", "score_chosen", "score_rejected"]}},
        [pair([ASKED], "Here.", "No."), pair([ASKED, SAID, AGAIN], "Yes.", "No.")],
    ),
    "Alpaca": (
        [
            {"instruction": "Add.", "input": "1", "better": "It is 1.", "worse": "2"},
            {"instruction": "Sing.", "input": "", "better": "La.", "worse": "null"},
        ],
        {
            "columns": {
                "prompt": ["instruction", "input"],
                "chosen": "better",
                "rejected": "worse",
            }
        },
        [
            pair([Turn("user", "Add.\n\n1")], "It is 1.", "2", text="Add.\n\n1"),
            pair([Turn("user", "Sing.")], "La.", "null", text="Sing."),
        ],
    ),
    "labelled text": (
        [
            {"prompt": "Where?", "completion": "Here.", "label": True},
            {"prompt": "Where?", "completion": "No.", "label": False},
        ],
        {},
        [
            labelled([ASKED], "Here.", True, None, "Where?"),
            labelled([ASKED], "No.", False, None, "Where?"),
        ],
    ),
    "labelled messages": (
        [
            {
                "prompt": [user("Where?")],
                "completion": [assistant("Here.")],
                "label": True,
                "weight": 0.5,
            }
        ],
        {},
        [labelled([ASKED], "Here.", True, 0.5)],
    ),
    "messages with a label": (
        [{"messages": [user("Where?"), assistant("Here.")], "label": False}],
        {},
        [labelled([ASKED], "Here.", False, None)],
    ),
    "ShareGPT with a label": (
        [{"conversations": [human("Where?"), gpt("Here.")], "label": True}],
        {},
        [labelled([ASKED], "Here.", True, None)],
    ),
    "ranked": (
        [{"prompt": "Where?", "completions": ["No.", "Here.", "So."], "scores": [1, 4.5, 2]}],
        {},
        [Example((ASKED,), ("No.", "Here.", "So."), "Where?", pairs=((1, 2), (1, 0), (2, 0)))],
    ),
    "ranked, the best against the worst": (
        [{"prompt": "Where?", "completions": ["No.", "Here.", "So."], "scores": [1, 4.5, 2]}],
        {"rankings": {"pairs": "best-worst"}},
        [Example((ASKED,), ("No.", "Here.", "So."), "Where?", pairs=((1, 0),))],
    ),
    "ranked, with the scores' differences as margins": (
        [{"prompt": "Where?", "completions": ["No.", "Here."], "scores": [1, 4.5]}],
        {"rankings": {"margin": "scores"}},
        [Example((ASKED,), ("No.", "Here."), "Where?", pairs=((1, 0),), margins=(3.5,))],
    ),
    "ranked, above a gap": (
        [
            {"prompt": "Where?", "completions": ["No.", "Here.", "So."], "scores": [1, 4.5, 2]},
            {"prompt": "Where?", "completions": ["No.", "So."], "scores": [1, 2]},
        ],
        {"rankings": {"min_gap": 1.0}},
        [
            Example((ASKED,), ("No.", "Here.", "So."), "Where?", pairs=((1, 2), (1, 0))),
            Unusable.NO_PREFERENCE,
        ],
    ),
    "ranked messages": (
        [
            {
                "prompt": [user("Where?")],
                "completions": [[assistant("No.")], [assistant("Here.")]],
                "scores": [1, 2],
            }
        ],
        {},
        [Example((ASKED,), ("No.", "Here."), None, pairs=((1, 0),))],
    ),
}
