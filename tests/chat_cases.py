"""Chat templates of the kinds that models have, and a small tokenizer that knows their tokens."""

from functools import cache
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from preference.data import tokens

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ ' ' + message['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
# By name: the template, the token that ends a turn, and how often a prompt writes BOS.
TEMPLATES = {
    "chatml": (CHATML, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "gemma": (GEMMA, "<end_of_turn>"),
    "mistral": (MISTRAL, "</s>"),
}
SPECIAL = (
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
)
CORPUS = ["Where is the market?", "It is there, at the gate.\n\n Yes.  It is.", "user\nassistant\n"]


@cache
def tokenizer(kind: str = "bytes", *, adds_bos: bool = False) -> Tokenizer:
    """A small BPE tokenizer.

    Args:
        kind: `bytes`, as GPT-2 and Llama 3 have it, or `pieces`, as SentencePiece's models have it:
            spaces become a sign, and one stands before a text.
        adds_bos: put BOS before a text that special tokens are added to.
    """
    found = Tokenizer(models.BPE(byte_fallback=kind == "pieces", unk_token=None))
    initial = pre_tokenizers.ByteLevel.alphabet()
    special = list(SPECIAL)
    if kind == "bytes":
        found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        found.decoder = decoders.ByteLevel()
    else:
        found.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        found.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        initial = sorted({*"▁\n.,?' ", *map(chr, range(33, 127))})
        special += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=initial, show_progress=False
    )
    found.train_from_iterator(CORPUS, trainer)
    if adds_bos:
        found.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", found.token_to_id("<s>"))]
        )
    return found


def saved(directory: Path, template: str | None, kind: str = "bytes", **options: bool) -> Path:
    """Save a tokenizer with a chat template into a directory."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(kind, **options), bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = template
    fast.save_pretrained(directory)
    return directory


def loaded(template: str | None, kind: str = "bytes", **options: bool) -> tokens.Loaded:
    """What `tokens.load` gives for a saved one."""
    found = tokenizer(kind, **options)
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    return tokens.Loaded(found, found.get_vocab()["</s>"], special, template)
