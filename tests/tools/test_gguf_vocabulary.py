"""Tokenizers in GGUF's words: each by value, and what would become another one is refused."""

import json
import logging
import shutil
from pathlib import Path

import gguf_cases
import pytest
from gguf import TokenType
from gguf_cases import ROWS, TEMPLATE, TOKENS, set_in
from model_cases import change_json, make_base
from tokenizers import processors

from preference.core.errors import InputError
from tools import gguf_vocabulary


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `model.base: scratch` makes; not to be changed."""
    return make_base(tmp_path_factory.mktemp("models") / "scratch")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A tokenizer of SmolLM2's kind, as a user's own."""
    gguf_cases.tokenizer().save_pretrained(tmp_path / "local")
    return tmp_path / "local"


def test_the_pipelines_own_tokenizer_is_gpt2s_kind(scratch: Path) -> None:
    said = json.loads((scratch / "tokenizer.json").read_text())["model"]
    found = gguf_vocabulary.read(scratch, 300)
    assert found.pre == "gpt-2"
    assert found.tokens == sorted(said["vocab"], key=said["vocab"].get)
    assert found.types == [TokenType.CONTROL] + [TokenType.NORMAL] * 299
    assert found.merges == [f"{one} {other}" for one, other in said["merges"]]
    assert found.special == {"bos": 0, "eos": 0}
    assert found.frame == (False, False)
    assert found.template is None


def test_one_of_smollm2s_kind(local: Path) -> None:
    found = gguf_vocabulary.read(local, ROWS)
    assert found.pre == "smollm"
    assert found.types[:4] == [TokenType.CONTROL] * 3 + [TokenType.NORMAL]
    assert found.tokens[TOKENS - 1 : TOKENS + 1] == ["<think>", f"[PAD{TOKENS}]"]
    assert found.types[TOKENS - 1 :] == [
        TokenType.USER_DEFINED,
        *[TokenType.UNUSED] * (ROWS - TOKENS),
    ]
    assert len(found.tokens) == ROWS
    assert found.special == {"bos": 1, "eos": 2}
    assert found.frame == (True, False)
    assert found.template == TEMPLATE


def test_merges_as_older_files_have_them_are_the_same(local: Path) -> None:
    expected = gguf_vocabulary.read(local, ROWS)
    said = json.loads((local / "tokenizer.json").read_text())["model"]["merges"]
    set_in(local / "tokenizer.json", "model.merges", [" ".join(pair) for pair in said])
    assert gguf_vocabulary.read(local, ROWS) == expected


REFUSED: dict[str, tuple[str, object, str]] = {
    "another kind": ("model.type", "Unigram", "a tokenizer of the kind Unigram"),
    "dropout": ("model.dropout", 0.1, r"model\.dropout is 0\.1"),
    "whole words first": ("model.ignore_merges", True, r"model\.ignore_merges is True"),
    "bytes as tokens": ("model.byte_fallback", True, r"model\.byte_fallback is True"),
    "normalizer": ("normalizer", {"type": "NFC"}, r"a normalizer \(NFC\)"),
    "decoder": ("decoder", {"type": "Metaspace"}, "a decoder of the kind Metaspace"),
    "no split": ("pre_tokenizer", None, r"a pre_tokenizer that is none of gpt-2, smollm \(None"),
    "space before": (
        "pre_tokenizer.pretokenizers.1.add_prefix_space",
        True,
        "a pre_tokenizer that is none of gpt-2, smollm",
    ),
    "numbers": (
        "pre_tokenizer.pretokenizers.0.individual_digits",
        False,
        "a pre_tokenizer that is none of",
    ),
    "spaces eaten": ("added_tokens.1.lstrip", True, r"the added token '<\|im_start\|>' with lstr"),
    "whole words": ("added_tokens.3.single_word", True, "the added token '<think>' with single_w"),
    "not in bytes": ("model.vocab.北", TOKENS, "the token '北' that is not in bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_gguf_cannot_say_is_refused(case: str, local: Path) -> None:
    key, value, message = REFUSED[case]
    set_in(local / "tokenizer.json", key, value)
    with pytest.raises(InputError, match=rf"local/tokenizer\.json: {message}") as caught:
        gguf_vocabulary.read(local, ROWS)
    assert "Export the model as safetensors instead" in str(caught.value)


def test_other_tokens_around_a_text_are_refused(local: Path) -> None:
    other = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    set_in(local / "tokenizer.json", "post_processor", json.loads(other.__getstate__()))
    with pytest.raises(InputError, match="other tokens around a text than BOS and EOS"):
        gguf_vocabulary.read(local, ROWS)


def test_a_template_that_asks_for_bos_needs_one(local: Path) -> None:
    set_in(local / "tokenizer.json", "post_processor", None)
    change_json(local / "tokenizer_config.json", bos_token=None)
    with pytest.raises(InputError, match="asks for bos_token, and the tokenizer has none"):
        gguf_vocabulary.read(local, ROWS)


def test_more_tokens_than_embeddings_are_refused(local: Path) -> None:
    with pytest.raises(InputError, match=f"ids up to {TOKENS - 1}, and the model {TOKENS - 1} emb"):
        gguf_vocabulary.read(local, TOKENS - 1)


def test_two_ids_of_a_token_are_refused(local: Path) -> None:
    set_in(local / "tokenizer.json", f"model.vocab.[PAD{TOKENS + 1}]", TOKENS)
    with pytest.raises(InputError, match=rf"two ids are of the token '\[PAD{TOKENS + 1}\]'"):
        gguf_vocabulary.read(local, ROWS)


def test_bytes_without_a_token_are_told(
    scratch: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        gguf_vocabulary.read(scratch, 300)
    assert not caplog.text
    local = Path(shutil.copytree(scratch, tmp_path / "local"))
    said = json.loads((local / "tokenizer.json").read_text())["model"]["vocab"]
    said["½½"] = said.pop("½")
    set_in(local / "tokenizer.json", "model.vocab", said)
    with caplog.at_level(logging.WARNING):
        gguf_vocabulary.read(local, 300)
    assert "no token for the bytes 0xbd; they are left out of a text" in caplog.text
    set_in(local / "tokenizer.json", "model.unk_token", "<|endoftext|>")
    with pytest.raises(InputError, match=r"'<\|endoftext\|>' in the place of the byte 0xbd"):
        gguf_vocabulary.read(local, 300)
