"""Odd and broken data: right pairs, or counted by reason, or refused by file and row.

FUZZ_EXAMPLES sets how many examples all of these take together (default 1,200).
"""

import gzip
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import naive
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_helpers import EOS, data, write_tokenizer
from hh_specified import as_specified
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from preference.core.errors import InputError
from preference.data import tokens
from preference.data.counts import Counts
from preference.data.encoding import Encoder
from preference.data.formats.hh import Pair, split
from preference.data.leakage import Seen
from preference.data.prepare import RawTable, prepare
from preference.data.sources import registry
from preference.store import examples
from preference.store.tables import RAW

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1200"))
MAX_LENGTH = 24


def share(of: float) -> settings:
    """Settings for this part of all the examples."""
    return settings(
        max_examples=round(EXAMPLES * of),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


ODD = [
    "\n\nAssistant:",
    "\n\nAssistant: ",
    "\nAssistant:",
    "Assistant:",
    "\n\nHuman: ",
    "Human:",
    "\n",
    "\r\n",
    " ",
    "\t",
    "\0",
    "\x85",
    "\u2028",
    "\ufeff",
    "\u200b",
    "e\u0301",
    "\u05d0\u202e",
    "\U0001f469\u200d\U0001f4bb",
    '"',
    "\\",
    "<script>",
    EOS,
    "a",
    "yes it is ",
]
# But for those that stand for special tokens where these are hidden.
plain = st.text(max_size=4).filter(lambda text: not tokens.SIGN.search(text))
piece = st.one_of(st.sampled_from(ODD), plain)
text = st.lists(piece, max_size=8).map("".join)
long = st.builds(lambda part, times: part * times, piece, st.integers(500, 3000))


@st.composite
def dialogues(draw: st.DrawFn) -> tuple[str, str]:
    """Two texts that often share a prompt, sometimes all."""
    head = draw(text) + draw(st.sampled_from(["", *ODD[:4]]))
    tails = draw(st.tuples(text, text))
    if draw(st.integers(0, 9)) == 0:
        tails = (tails[0], tails[0])
    if draw(st.integers(0, 19)) == 0:
        tails = (tails[0], draw(long))
    return head + tails[0], head + tails[1]


good = dialogues().map(lambda pair: {"chosen": pair[0], "rejected": pair[1]})
value = st.one_of(
    st.none(), st.booleans(), st.integers(), st.lists(st.text(max_size=2)), st.just("\ud800")
)
bad_row: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries({"chosen": text, "rejected": value}),
    st.fixed_dictionaries({"chosen": text}),
    st.fixed_dictionaries({"rejected": text, "Chosen": text}),
    st.lists(st.integers()),
    st.text(max_size=5),
)
line = st.one_of(
    good.map(lambda row: json.dumps(row).encode()),
    good.map(lambda row: json.dumps(row, ensure_ascii=False).encode()),
    good.map(lambda row: json.dumps(row | {"more": [1, {}]}).encode()),
    st.sampled_from([b"", b"  ", b"\r"]),
)
bad_line = st.one_of(
    bad_row.map(lambda row: json.dumps(row).encode()),
    st.sampled_from(
        [b"{", b"[" * 2000, b'{"chosen": "\xff", "rejected": "a"}', b"nul", b"\xef\xbb\xbf{}"]
    ),
)


class Damage(NamedTuple):
    kind: str
    at: float
    bits: int

    def do(self, content: bytes) -> bytes:
        at = min(int(self.at * len(content)), len(content) - 1)
        if self.kind == "cut":
            return content[:at]
        if self.kind == "flip" and content:
            return content[:at] + bytes([content[at] ^ self.bits]) + content[at + 1 :]
        if self.kind == "append":
            return content + bytes([self.bits]) * 5
        return content


damage = st.builds(
    Damage,
    st.sampled_from(["none", "none", "cut", "flip", "append"]),
    st.floats(0, 1),
    st.integers(1, 255),
)


def rows_of(content: bytes) -> list[tuple[str, str]] | int:
    """What lines of JSON say, or the number of the first line that is at fault."""
    found = []
    for number, raw in enumerate(io.BytesIO(content), start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode())
            pair = (row["chosen"], row["rejected"])
            "".join(pair).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            return number
        found.append(pair)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fuzz")
    write_tokenizer(place, eos_token=EOS)
    return place


def read(path: Path, kind: str = "dialogues") -> list[tuple[str, str]] | None:
    """The dialogues of a file; None where it is of another format."""
    found, batches = registry.raw(data(source=[str(path)], format=kind), "train")
    rows = [row for batch in batches for row in batch.to_pylist()]
    if found.name != "dialogues":
        return None
    return [(row["chosen"], row["rejected"]) for row in rows]


@share(0.35)
@given(
    lines=st.lists(line, min_size=1, max_size=6),
    broken=st.none() | st.tuples(st.integers(0, 6), bad_line),
    zipped=st.booleans(),
    hurt=damage,
)
@example(
    # Half of a pair of surrogates, and the next line is bad, too: the first one counts.
    lines=[b'{"chosen": "a", "rejected": "\\ud800"}'],
    broken=(1, b'{"chosen": "", "rejected": null}'),
    zipped=False,
    hurt=Damage("none", 0, 1),
)
def test_lines_are_read_right_or_refused_by_line(
    place: Path,
    lines: list[bytes],
    broken: tuple[int, bytes] | None,
    zipped: bool,
    hurt: Damage,
) -> None:
    if broken is not None:
        lines = [*lines[: broken[0]], broken[1], *lines[broken[0] :]]
    content = b"\n".join(lines)
    path = place / ("train.jsonl.gz" if zipped else "train.jsonl")
    content = hurt.do(gzip.compress(content, 1) if zipped else content)
    path.write_bytes(content)
    try:
        expected = rows_of(gzip.decompress(content) if zipped else content)
    except Exception:
        # What is wrong with it is for the decompressor to say.
        expected = -1
    if expected:
        with suppress(InputError):
            # The first row may be one of another format.
            assert read(path, "auto") in (expected, None)
    if isinstance(expected, list) and expected:
        assert read(path) == read(path, "auto") == expected
        return
    with pytest.raises(InputError) as refused:
        read(path)
    message = str(refused.value)
    assert str(path) in message
    if expected == []:
        assert "train has no rows" in message
        return
    # A damaged archive has no lines to count.
    if not zipped:
        assert f"{path}, line {expected}: " in message


@share(0.25)
@given(rows=st.lists(dialogues(), min_size=1, max_size=6), hurt=damage, large=st.booleans())
@example(
    # In the name of a column, which is text no more.
    rows=[("\n\nAssistant:\n\nAssistant:", "\n\nAssistant:\n\nAssistant:")],
    hurt=Damage("flip", 0.375, 128),
    large=False,
)
@example(
    # In the header of a page, which then has no values: rows were missing without a word.
    rows=[
        (
            "\n\nAssistant:\n\nHuman: \u2028\u20280\x80\x80\x80Assistant:\n\nAssistant:\U00010000",
            "\n\nAssistant:\n\nHuman: \u2028\u20280\x80\x80\x80",
        )
    ],
    hurt=Damage("flip", 0.07731082628309284, 1),
    large=False,
)
def test_parquet_is_read_right_or_refused(
    place: Path, rows: list[tuple[str, str]], hurt: Damage, large: bool
) -> None:
    path = place / "train.parquet"
    kind = pa.large_string() if large else pa.string()
    columns = [pa.array(column, kind) for column in zip(*rows, strict=True)]
    table = pa.table(columns, names=RAW.names)
    pq.write_table(table, path, write_page_checksum=True)
    path.write_bytes(hurt.do(path.read_bytes()))
    refused = ""
    try:
        found = read(path)
    except InputError as error:
        refused = str(error)
    else:
        assert found == rows
    assert not refused or hurt.kind != "none"
    assert not refused or str(path) in refused or "data.source" in refused


@share(0.1)
@given(
    rows=st.lists(st.none() | st.binary(max_size=6), min_size=1, max_size=4),
    kind=st.sampled_from([pa.string(), pa.binary(), pa.list_(pa.binary()), pa.int8()]),
)
@example(rows=[b"\x80", None], kind=pa.string())
def test_parquet_of_other_columns_is_refused(
    place: Path, rows: list[bytes | None], kind: pa.DataType
) -> None:
    path = place / "train.parquet"
    if kind == pa.string():
        # Bytes that say that they are text.
        column = pa.array(rows, pa.binary()).view(kind)
    elif pa.types.is_list(kind):
        column = pa.array([rows], kind)
    else:
        column = pa.array(rows, pa.binary()) if kind == pa.binary() else pa.array([1], kind)
    pq.write_table(pa.table([column, column], names=RAW.names), path)
    texts = []
    for row in rows:
        try:
            texts.append(None if row is None else row.decode())
        except UnicodeDecodeError:
            texts.append(None)
    if kind == pa.string() and None not in texts:
        assert read(path) == [(value, value) for value in texts]
        return
    with pytest.raises(InputError) as refused:
        read(path)
    # Of a part of the rows, what is no text at all is found before what is null.
    bad = [row for row, value in enumerate(texts) if value is None]
    places = [f"{path}, row {row}: column 'chosen'" for row in bad]
    told = str(refused.value)
    assert any(map(told.startswith, places)) if kind == pa.string() else str(path) in told


@share(0.15)
@given(
    rows=st.lists(dialogues(), min_size=1, max_size=6),
    again=st.integers(0, 5),
    bos=st.sampled_from(["auto", "never"]),
)
def test_prepared_pairs_are_the_naive_ones(
    place: Path, rows: list[tuple[str, str]], again: int, bos: str
) -> None:
    rows = [*rows, rows[again % len(rows)]]
    settings = data(format="dialogues", max_length=MAX_LENGTH, bos=bos)
    raw, out = place / "raw.parquet", place / "prepared.parquet"
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, schema=RAW), raw)
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    (eos,) = tokenizer.encode(EOS, add_special_tokens=False).ids

    # What texts spell of special tokens is text.
    tokenizer.encode_special_tokens = True

    def ids(part: str) -> list[int]:
        found: list[int] = tokenizer.encode(part, add_special_tokens=False).ids
        return found

    def made() -> Counts:
        table = RawTable(raw, settings)
        encoder = Encoder(tokens.load(place), settings, table.template)
        return prepare(table, out, encoder, wanted=None, seen=Seen())

    pairs = {}
    for number, row in enumerate(rows):
        found = as_specified(*row)
        if isinstance(found, tuple):
            # EOS at the end of a response is there once, and alone it is none.
            said = [response.removesuffix(EOS) for response in found[1:3]]
            if not all(response.strip() for response in said):
                continue
            prompt, *responses = map(ids, (found[0], *said))
            # What the tokenizer puts before a text, too.
            first = [eos] if bos == "auto" else []
            sides = naive.cut_all(first, prompt, [[*r, eos] for r in responses], MAX_LENGTH)
            # A lone EOS has nothing before it and could not be scored.
            if all(len(head) + len(response) > 1 for head, response in sides):
                pairs[number] = sides
    if not pairs:
        with pytest.raises(InputError, match=f"{raw}: none of its {len(rows)} rows"):
            made()
        return
    counts = made()
    assert counts.rows_read == len(rows) == counts.pairs + sum(counts.skipped.values())
    prepared = examples.read(out)
    assert prepared.index.pair_rows.tolist() == list(pairs)
    for pair, expected in zip(prepared.index.pairs, pairs.values(), strict=True):
        assert [naive.sequence(prepared, response) for response in pair] == expected
    named = [p for p in (split(*rows[number]) for number in pairs) if isinstance(p, Pair)]
    assert counts.duplicates == len(named) - len(set(named))
    assert counts.identical_responses == sum(p.chosen == p.rejected for p in named)
    assert counts.common_prefix == sum(p.by_common_prefix for p in named)


@share(0.15)
@given(st.one_of(dialogues(), st.tuples(text, text)))
def test_splitting_odd_text_follows_the_specification(row: tuple[str, str]) -> None:
    expected, found = as_specified(*row), split(*row)
    if isinstance(expected, tuple):
        assert found == Pair(*expected)
    else:
        assert found in expected
