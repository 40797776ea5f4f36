"""DPO's loss and gradients against the peer library's trainer, on the same model and tokens."""

import math
from pathlib import Path
from typing import Any

import chat_cases
import data_helpers
import naive
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from settings import train
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from preference.losses import named
from preference.model import batches
from preference.model.abilities import Abilities
from preference.model.batches import Layout
from preference.model.scorer import ResponseLogps
from preference.objectives.steps import step_metrics

MAX_LENGTH = 18
BETA = 0.3


def trainer(
    loss_type: str,
    directory: Path,
    rows: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerFast,
    models: tuple[PreTrainedModel, PreTrainedModel],
) -> DPOTrainer:
    """The peer's trainer in float32 on the CPU, with a reference that is not the policy."""
    AcceleratorState._reset_state(True)
    settings = DPOConfig(
        output_dir=str(directory),
        loss_type=loss_type,
        beta=BETA,
        use_cpu=True,
        bf16=False,
        disable_dropout=True,
        gradient_checkpointing=False,
        max_length=MAX_LENGTH if len(rows) == 1 else None,
        truncation_mode="keep_end",
        report_to=[],
    )
    return DPOTrainer(
        model=models[0],
        ref_model=models[1],
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )


def word_trainer(loss_type: str, directory: Path) -> DPOTrainer:
    """For token ids that are known already."""
    words = {f"w{i}": i for i in range(naive.VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), eos_token="w1", pad_token="w2"
    )
    text = {"prompt": "w5", "chosen": "w6", "rejected": "w7"}
    return trainer(loss_type, directory, [text], tokenizer, (naive.gpt2(1), naive.gpt2(2)))


def gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(("loss_type", "normalize"), [("sigmoid", False), ("sigmoid_norm", True)])
@pytest.mark.parametrize("layout", ["plain", "shared", "packed"])
def test_loss_and_gradients_agree(
    loss_type: str, normalize: bool, layout: Layout, tmp_path: Path
) -> None:
    texts = naive.random_texts(12)
    peer = word_trainer(loss_type, tmp_path)
    # The token ids themselves: the peer tokenizes prompt and response as one text.
    examples: list[dict[str, Any]] = [
        {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        for prompt, chosen, rejected in texts
    ]
    their_model = peer.model.eval()
    their_loss = peer.compute_loss(their_model, peer.data_collator(examples))
    their_loss.backward()

    pairs = naive.make_pairs(texts, MAX_LENGTH)
    different = np.not_equal(*pairs.prompt_tokens[pairs.index.pairs].T)
    assert different.any()
    assert not different.all()
    settings = train(beta=BETA, batch_size=12)
    reference = naive.score(naive.gpt2(2), pairs)
    task = named("dpo").task(pairs, reference, settings, normalize, 0)
    model = naive.gpt2(1)
    batch = batches.make(pairs, list(task.items), layout)
    logps = ResponseLogps(model, Abilities(layout, bare_output=True))(batch)
    loss = task.loss(logps, batch.counts, np.arange(12), None).mean()
    loss.backward()

    torch.testing.assert_close(loss, their_loss, rtol=1e-5, atol=1e-6)
    if not normalize:
        # The peer's rewards are of sums, whatever its loss is of.
        said = {name: values[-1] for name, values in peer._metrics["eval"].items()}
        assert task.tally
        found = step_metrics(task.tally(logps.detach(), batch.counts, np.arange(12)).tolist())
        assert len(found) == 6
        assert found == pytest.approx({name: said[name] for name in found}, rel=1e-5)
    ours, theirs = gradients(model), gradients(their_model)
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def conversation(number: int) -> dict[str, Any]:
    """A dialogue of one to three questions, with answers to the last."""
    prompt: list[dict[str, str]] = []
    for turn in range(number % 3 + 1):
        if prompt:
            prompt.append({"role": "assistant", "content": f"Go on {turn},\n\n please.  "})
        prompt.append({"role": "user", "content": f"Where is the market number {number}-{turn}?"})
    sides = {"chosen": f"It is there, at gate {number}.", "rejected": " No\nidea" + "." * number}
    return {"prompt": prompt} | {
        side: [{"role": "assistant", "content": text}] for side, text in sides.items()
    }


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("name", chat_cases.TEMPLATES)
def test_messages_give_the_same_ids_and_the_same_first_loss(
    name: str, implicit: bool, tmp_path: Path
) -> None:
    rows = [conversation(number) for number in range(6)]
    if implicit:
        rows = [
            {side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in rows
        ]
    chat_cases.saved(tmp_path / "base", chat_cases.TEMPLATES[name][0])
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "base", pad_token="<s>")
    models = tuple(_large(seed, len(tokenizer)) for seed in (1, 2))
    peer = trainer("sigmoid", tmp_path, rows, tokenizer, models)
    theirs = list(peer.train_dataset)

    pairs = data_helpers.prepared(rows, tmp_path)
    assert len(pairs.index.pairs) == len(rows)
    for place, (chosen, rejected) in enumerate(pairs.index.pairs.tolist()):
        for side, response in (("chosen_ids", chosen), ("rejected_ids", rejected)):
            prompt, ids = naive.sequence(pairs, response)
            assert (prompt, ids) == (theirs[place]["prompt_ids"], theirs[place][side])

    # The peer sums over tokens, and its reference is another model here.
    their_loss = peer.compute_loss(peer.model.eval(), peer.data_collator(theirs))
    settings = train(beta=BETA, batch_size=len(rows))
    task = named("dpo").task(pairs, naive.score(models[1], pairs), settings, False, 0)
    batch = batches.make(pairs, list(task.items), "shared")
    logps = ResponseLogps(_large(1, len(tokenizer)), Abilities("shared", True))(batch)
    loss = task.loss(logps, batch.counts, np.arange(len(rows)), None).mean()
    assert abs(float(loss) - math.log(2)) > 1e-3
    torch.testing.assert_close(loss, their_loss, rtol=1e-5, atol=1e-6)


def _large(seed: int, vocabulary: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    size = {**naive.LLAMA_SIZE, "vocab_size": vocabulary, "max_position_embeddings": 512}
    return LlamaForCausalLM(LlamaConfig(**size)).eval()
