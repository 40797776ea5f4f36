"""A tiny GPT-2 and a tiny Llama in directories, to be written as GGUF; and what reads that."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_cases import make_base
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from preference.core.params import Scratch
from preference.data.sources import demo

SIZE = Scratch(n_layer=2, n_head=2, n_embd=64, n_positions=192, vocab_size=400)
TOKENS, ROWS = 420, 448
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ eos_token }}"
    "\n{% endfor %}"
)


def make_gpt2(out: Path) -> Path:
    """What `model.base: scratch` makes, with weights as large as trained ones."""
    make_base(out, size=SIZE)
    model = AutoModelForCausalLM.from_pretrained(out)
    spread(model)
    model.save_pretrained(out)
    return out


def make_llama(out: Path, **changes: Any) -> Path:
    """Fewer heads of keys, digits one by one, BOS before a text, more embeddings than tokens."""
    config: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 192,
        "vocab_size": ROWS,
        "rope_theta": 20_000.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(**config | changes))
    spread(model)
    model.save_pretrained(out)
    tokenizer().save_pretrained(out)
    return out


def spread(model: PreTrainedModel) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))


def tokenizer() -> PreTrainedTokenizerFast:
    """SmolLM2's kind, with a token that is added and not special."""
    fast = Tokenizer(BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level])
    fast.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS - 1,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(demo.texts(), trainer)
    fast.add_tokens([AddedToken("<think>", normalized=False)])
    fast.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    whole = PreTrainedTokenizerFast(
        tokenizer_object=fast, bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    whole.chat_template = TEMPLATE
    return whole


def set_in(path: Path, key: str, value: object) -> None:
    """Set a dotted key of a JSON file."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    *groups, last = key.split(".")
    section = settings
    for group in groups:
        section = section[int(group)] if isinstance(section, list) else section[group]
    section[last] = value
    path.write_text(json.dumps(settings), encoding="utf-8")


class LlamaCpp:
    """llama.cpp itself, in float32 as far as it goes."""

    def __init__(self, file: Path, context: int) -> None:
        bindings = pytest.importorskip("xllamacpp")
        params = bindings.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel = context, 1
        params.n_gpu_layers, params.warmup, params.verbosity = 0, False, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = bindings.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = bindings.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = bindings.Server(params)

    def asked(self, prompt: str | list[int], rows: int) -> tuple[int, np.ndarray]:
        """How many tokens a prompt has, and the log-probability of each token after it."""
        done = self._server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": 1,
                # It would tell nothing where EOS came, or a part of a character: an A comes, and
                # what it tells is from before this.
                "logit_bias": [["A", 1e4]],
                "logprobs": rows,
                "cache_prompt": False,
            }
        )
        (step,) = done["choices"][0]["logprobs"]["content"]
        logps = {token["id"]: token["logprob"] for token in step["top_logprobs"]}
        return done["usage"]["prompt_tokens"], np.array([logps[token] for token in range(rows)])
