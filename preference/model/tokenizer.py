"""The tokenizer of a base, taken over file by file, so that it gives the ids it always gave.

Training reads tokenizer.json itself; transformers may rebuild another one from the class that
tokenizer_config.json names. Both must agree on what is saved.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from preference.core.errors import InputError, first_line, one_line
from preference.model.directories import TOKENIZER_FILES
from preference.model.loading import UNREADABLE
from preference.model.weights import read_object
from preference.store.text import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

JSON, CONFIG = "tokenizer.json", "tokenizer_config.json"
# Takes tokenizer.json as it is, in all versions of transformers.
PLAIN = "PreTrainedTokenizerFast"
# Where tokenizers that are not the same differ: scripts, spaces, lines, digits, contractions.
PROBES = (
    "\n\nHuman: Where's the market?\n\nAssistant: It's in Oakby, I think.",
    "Hello world",
    "  two  spaces, \t\ttabs\t and an end ",
    "line\nline\r\n\r\n\n\nend\n",
    "In 2024 it was 3.14159, 1,000,000 or 10%.",
    "DON'T don't I'll WE'RE you've O'Neill's",
    "def f(x_1):\n    return {'a': x_1 + y2}  # http://a.b/c?d=e&f",
    "snake_case camelCase HTTPServer <b>bold</b> [x] ((y)) --- ... !!!",
    "Zürich, naïve Ærø, İstanbul, e\u0301 ﬁ",
    "北京 日本語のテスト 한국어 Привет мир مرحبا שלום नमस्ते ไทย",
    "🙂👩\u200d💻 \u00a0\u200b\u2028 \x00",
)


def take(source: Path, out: Path) -> Tokenizer:
    """Bring a tokenizer into a directory that has the model's config.json already.

    Files are copied as they are; only where that loses nothing, tokenizer_config.json is made to
    say what transformers would know of the model's kind alone.

    Returns:
        What training reads.

    Raises:
        InputError: there is none, it is damaged, has no EOS, or cannot be read in one way only.
    """
    if (source / JSON).exists():
        for pattern in TOKENIZER_FILES:
            for file in source.glob(pattern):
                shutil.copyfile(file, out / file.name)
        _require_eos_known(source, _read(source / JSON))
        tokenizer = _rebuilt(out, source)
    else:
        # Of a tokenizer in older files transformers makes tokenizer.json.
        tokenizer = _rebuilt(source, source)
        tokenizer.save_pretrained(out)
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{source / CONFIG}: no eos_token; every response ends with it, so name one that the "
            "vocabulary has"
        )
    _say_eos(out / CONFIG, tokenizer.eos_token)
    raw = _read(out / JSON)
    if difference := _difference(raw, tokenizer):
        _agree(raw, difference, source, out)
    return raw


def require_embeddings(
    out: Path, tokenizer: Tokenizer, rows: int, source: Path, model: Path
) -> None:
    """Refuse a tokenizer with ids for which the model has no embedding.

    Args:
        out: where `take` has brought it.
        rows: embeddings of the model.
        source: where it came from, for the error message.
        model: what has them, for the error message.
    """
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise InputError(
            f"{source}: the tokenizer has ids up to {largest}, the model {rows} embeddings "
            f"({model}); they do not belong together"
        )
    beyond = {t: i for t, i in _rebuilt(out, out).get_vocab().items() if i >= rows}
    if beyond:
        raise InputError(
            f"{source}: transformers adds {', '.join(map(repr, sorted(beyond)))} from {CONFIG}, "
            f"which tokenizer.json lacks, and the model's {rows} embeddings ({model}) have no "
            "room for it; name a token there that the vocabulary has"
        )


def _read(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises no narrower class.
        raise InputError(f"{path}: no usable tokenizer ({first_line(error)})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _settings(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    return read_object(path) if path.exists() else {}


def _require_eos_known(source: Path, raw: Tokenizer) -> None:
    eos = _settings(source).get("eos_token")
    eos = eos.get("content") if isinstance(eos, dict) else eos
    if eos is not None and raw.token_to_id(eos) is None:
        raise InputError(
            f"{source / CONFIG}: eos_token {eos!r} is not in the vocabulary of {JSON} beside it "
            f"({raw.get_vocab_size()} tokens); every response ends with it, so name one that is"
        )


def _rebuilt(directory: Path, source: Path) -> "PreTrainedTokenizerFast":
    """What transformers makes of a directory.

    Args:
        source: where the files came from, for the error message.
    """
    # It imports every tokenizer's kind; a base from scratch does not need it.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except UNREADABLE as error:
        said = one_line(error).replace(str(directory), str(source))
        raise InputError(
            f"{source}: no usable tokenizer ({said}); it needs {JSON} and {CONFIG}"
        ) from None
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_ids):
        # Where there are no files, transformers makes an empty tokenizer of the model's kind.
        raise InputError(f"{source}: no tokenizer; it needs {JSON} and {CONFIG}")
    if not tokenizer.is_fast:
        raise InputError(f"{source}: has only a slow tokenizer; convert it and save {JSON} there")
    return tokenizer


def _say_eos(config: Path, eos: str) -> None:
    """Name EOS where transformers has it from another file, or from the model's kind."""
    settings = _settings(config.parent)
    if settings.get("eos_token") is None:
        write_json(config, settings | {"eos_token": eos})


def _texts(raw: Tokenizer, rebuilt: "PreTrainedTokenizerFast") -> Iterator[str]:
    yield from PROBES
    added = dict.fromkeys(token.content for token in raw.get_added_tokens_decoder().values())
    # Also those that transformers adds; one for padding alone stands in no text.
    added |= {token: None for token in rebuilt.get_added_vocab() if token != rebuilt.pad_token}
    for token in list(added)[:200]:
        yield f"{token}one{token} two {token}\n"


def _difference(raw: Tokenizer, rebuilt: "PreTrainedTokenizerFast") -> str:
    """Where two tokenizers first give different ids, in words; nothing where they never do."""
    for special in (False, True):
        for text in _texts(raw, rebuilt):
            ours = raw.encode(text, add_special_tokens=special).ids
            theirs = list(rebuilt(text, add_special_tokens=special).input_ids)
            if ours != theirs:
                same = [a == b for a, b in zip(ours, theirs, strict=False)]
                start = same.index(False) if False in same else len(same)
                around = " with special tokens around it" if special else ""
                return (
                    f"{text[:40]!r}{around} is {ours[start : start + 5]}... by {JSON} and "
                    f"{theirs[start : start + 5]}... by transformers"
                )
    return ""


def _agree(raw: Tokenizer, difference: str, source: Path, out: Path) -> None:
    """Let tokenizer_config.json name the class that takes tokenizer.json as it is, or stop."""
    settings = _settings(out)
    write_json(out / CONFIG, settings | {"tokenizer_class": PLAIN})
    named = settings.get("tokenizer_class")
    if left := _difference(raw, _rebuilt(out, source)):
        raise InputError(
            f"{source / CONFIG}: with it transformers gives other ids than {JSON} beside it has: "
            f"{left}; see which are the ids that the model was trained with, and save the "
            "tokenizer so that both give them"
        )
    logging.warning(
        "%s: tokenizer_class %s gives other ids than %s beside it (%s); %s is right, and the saved "
        "base says %s",
        source / CONFIG,
        named,
        JSON,
        difference,
        JSON,
        PLAIN,
    )


def set_chat_template(out: Path, file: Path | None) -> None:
    """Put a chat template into `CONFIG`: a file's, or the one that stands beside it.

    There it is a part of what preparing reads, whether there is one or not, and transformers finds
    it for everybody who uses the model.

    Raises:
        InputError: there is no such file, or it is no text.
    """
    own = out / "chat_template.jinja"
    if file is None and not own.exists():
        return
    try:
        text = (file or own).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"params.yaml: data.template: {file}: cannot be read ({error})") from None
    write_json(out / CONFIG, {**_settings(out), "chat_template": text})
    own.unlink(missing_ok=True)
