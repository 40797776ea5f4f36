"""A base's tokenizer: the source's own ids, for whoever reads it, or a refusal."""

import json
import logging
from itertools import islice
from pathlib import Path

import chat_cases
import pytest
from model_cases import change_json, gpt2
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import AutoTokenizer

from preference.core.errors import InputError
from preference.core.params import Model
from preference.data import tokens
from preference.data.sources import demo
from preference.model import base, tokenizer

TEXTS = [
    *tokenizer.PROBES,
    "\n\nHuman: the market of 1999?\n\nAssistant:  It's  gone.",
    "<|endoftext|>a<|endoftext|> b",
]
TEMPLATE = "{% for m in messages %}[{{ m.content }}]{% endfor %}"


def create(source: Path, out: Path) -> Path:
    base.create_base(Model(base=str(source), revision=None), 0, out, [])
    return out


def refuse(source: Path, out: Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create(source, out)
    assert not out.exists()


def change(directory: Path, **parts: object) -> None:
    """Give tokenizer.json other parts, as `pre_tokenizer`."""
    raw = Tokenizer.from_file(str(directory / "tokenizer.json"))
    for name, part in parts.items():
        setattr(raw, name, part)
    raw.save(str(directory / "tokenizer.json"))


def ids(directory: Path, special: bool) -> list[list[int]]:
    raw = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return [raw.encode(text, add_special_tokens=special).ids for text in TEXTS]


def assert_taken_over(source: Path, out: Path) -> None:
    """Training, transformers, and the source agree."""
    assert (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    found = AutoTokenizer.from_pretrained(out)
    for special in (False, True):
        expected = ids(source, special)
        assert ids(out, special) == expected
        assert [found(t, add_special_tokens=special).input_ids for t in TEXTS] == expected


def with_own_rules(directory: Path) -> None:
    """Give a directory a byte-level BPE that merges across words, as GPT-2's never does."""
    raw = Tokenizer(BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet
    )
    raw.train_from_iterator(islice(demo.texts(), 200), trainer)
    raw.save(str(directory / "tokenizer.json"))


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "GPT2TokenizerFast"])
def test_a_tokenizer_is_not_rebuilt_from_its_class(
    name: str, local: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_own_rules(local)
    change_json(local / "tokenizer_config.json", tokenizer_class=name)
    rebuilt = AutoTokenizer.from_pretrained(local)
    assert [rebuilt(t, add_special_tokens=False).input_ids for t in TEXTS] != ids(local, False)
    with caplog.at_level(logging.WARNING):
        out = create(local, tmp_path / "out")
    assert f"tokenizer_class {name} gives other ids than tokenizer.json beside it" in caplog.text
    assert_taken_over(local, out)


def test_a_class_that_gives_the_same_ids_is_kept(
    local: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_json(local / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    with caplog.at_level(logging.WARNING):
        out = create(local, tmp_path / "out")
    assert not caplog.text
    assert_taken_over(local, out)
    assert json.loads((out / "tokenizer_config.json").read_text())["tokenizer_class"] == (
        "GPT2Tokenizer"
    )


def test_tokens_around_a_text_stay(local: Path, tmp_path: Path) -> None:
    around = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    change(local, post_processor=around)
    assert ids(local, True)[0] == [0, *ids(local, False)[0]]
    assert_taken_over(local, create(local, tmp_path / "out"))


def test_tokens_that_transformers_alone_knows_are_refused(local: Path, tmp_path: Path) -> None:
    """A marker of turns that is one token for transformers, and several for tokenizer.json."""
    gpt2(vocabulary=301).save_pretrained(local)
    marker = {"content": "<|user|>", "special": True, "lstrip": False, "rstrip": False}
    decoder = {"300": marker | {"normalized": False, "single_word": False}}
    change_json(local / "tokenizer_config.json", added_tokens_decoder=decoder)
    refuse(
        local,
        tmp_path / "out",
        r"local/tokenizer_config\.json: with it transformers gives other ids than tokenizer\.json "
        r"beside it has: '<\|user\|>one.*\[300,",
    )


def test_cutting_and_padding_in_the_file_do_not_matter(local: Path, tmp_path: Path) -> None:
    raw = Tokenizer.from_file(str(local / "tokenizer.json"))
    raw.enable_truncation(4)
    raw.enable_padding(length=4, pad_token="<|endoftext|>")
    raw.save(str(local / "tokenizer.json"))
    out = create(local, tmp_path / "out")
    loaded = tokens.load(out).tokenizer
    assert len(loaded.encode(TEXTS[0]).ids) > 4


def test_eos_that_the_vocabulary_lacks_is_named(local: Path, tmp_path: Path) -> None:
    change_json(local / "tokenizer_config.json", eos_token="</s>")
    message = r"local/tokenizer_config\.json: eos_token '</s>' is not in the vocabulary of token"
    refuse(local, tmp_path / "out", message)
    content = {"__type": "AddedToken", "content": "</s>"}
    change_json(local / "tokenizer_config.json", eos_token=content)
    refuse(local, tmp_path / "out", message)


@pytest.mark.parametrize("config", [None, {"model_max_length": 1024}])
def test_eos_that_only_transformers_knows_is_written_down(
    config: dict[str, int] | None, local: Path, tmp_path: Path
) -> None:
    """As gpt2's on the Hub, whose tokenizer_config.json holds a length alone."""
    (local / "tokenizer_config.json").unlink()
    if config:
        (local / "tokenizer_config.json").write_text(json.dumps(config))
    out = create(local, tmp_path / "out")
    assert_taken_over(local, out)
    written = json.loads((out / "tokenizer_config.json").read_text())
    assert written == (config or {}) | {"eos_token": "<|endoftext|>"}
    assert tokens.load(out)[1] == 0


def test_a_tokenizer_in_older_files_is_converted(local: Path, tmp_path: Path) -> None:
    model = json.loads((local / "tokenizer.json").read_text())["model"]
    (local / "vocab.json").write_text(json.dumps(model["vocab"]))
    (local / "merges.txt").write_text("\n".join(" ".join(pair) for pair in model["merges"]))
    expected = ids(local, False)
    (local / "tokenizer.json").unlink()
    change_json(local / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    out = create(local, tmp_path / "out")
    assert ids(out, False) == expected
    found = AutoTokenizer.from_pretrained(out)
    assert [found(text, add_special_tokens=False).input_ids for text in TEXTS] == expected


@pytest.mark.parametrize("where", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_chat_template_is_kept(where: str, local: Path, tmp_path: Path) -> None:
    if where.endswith("jinja"):
        (local / where).write_text(TEMPLATE)
    else:
        change_json(local / where, chat_template=TEMPLATE)
    found = AutoTokenizer.from_pretrained(create(local, tmp_path / "out"))
    assert found.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False) == "[a]"


def test_a_vocabulary_larger_than_the_embeddings_names_both_files(
    local: Path, tmp_path: Path
) -> None:
    gpt2(vocabulary=299).save_pretrained(local)
    refuse(
        local,
        tmp_path / "out",
        r"local/tokenizer\.json: the tokenizer has ids up to 299, the model 299 embeddings "
        r"\(.*local/config\.json\)",
    )


def test_a_token_that_the_embeddings_have_no_room_for_is_named(local: Path, tmp_path: Path) -> None:
    change_json(local / "tokenizer_config.json", pad_token="[PAD]")
    refuse(local, tmp_path / "out", r"adds '\[PAD\]' from tokenizer_config\.json")
    gpt2(vocabulary=301).save_pretrained(local)
    assert_taken_over(local, create(local, tmp_path / "out"))


def test_an_added_token_is_taken_over(local: Path, tmp_path: Path) -> None:
    raw = Tokenizer.from_file(str(local / "tokenizer.json"))
    raw.add_special_tokens([AddedToken("<|user|>", special=True)])
    raw.save(str(local / "tokenizer.json"))
    gpt2(vocabulary=301).save_pretrained(local)
    out = create(local, tmp_path / "out")
    assert_taken_over(local, out)
    assert AutoTokenizer.from_pretrained(out)("a<|user|>").input_ids[-1] == 300


def test_a_fault_in_the_config_is_said_of_the_config(local: Path, tmp_path: Path) -> None:
    change_json(local / "config.json", vocab_size="600")
    refuse(local, tmp_path / "out", r"local/config\.json: not a config .*vocab_size.*'600'")


ASKED = [{"role": "user", "content": "Where?"}]
OWN = "{{ messages[0]['content'] }}!"


@pytest.mark.parametrize("own", [None, chat_cases.CHATML])
def test_a_chat_template_is_found_by_both(own: str | None, tmp_path: Path) -> None:
    directory = chat_cases.saved(tmp_path, own)
    before = AutoTokenizer.from_pretrained(directory)
    tokenizer.set_chat_template(directory, None)
    assert not (directory / "chat_template.jinja").exists()
    after = AutoTokenizer.from_pretrained(directory)
    assert (
        after.chat_template == before.chat_template == tokens.load(directory).chat_template == own
    )
    assert after("a b").input_ids == before("a b").input_ids


@pytest.mark.parametrize("own", [None, chat_cases.CHATML])
def test_a_file_takes_the_place_of_the_models_own(own: str | None, tmp_path: Path) -> None:
    directory, file = chat_cases.saved(tmp_path / "base", own), tmp_path / "mine.jinja"
    file.write_text(OWN)
    tokenizer.set_chat_template(directory, file)
    found = AutoTokenizer.from_pretrained(directory)
    assert found.apply_chat_template(ASKED, tokenize=False) == "Where?!"
    assert tokens.load(directory).chat_template == OWN
    assert json.loads((directory / "tokenizer_config.json").read_text())["eos_token"] == "</s>"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.template: .*none\.jinja: cannot be read"):
        tokenizer.set_chat_template(chat_cases.saved(tmp_path, None), tmp_path / "none.jinja")
