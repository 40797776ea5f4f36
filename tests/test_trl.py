"""DPO's loss and gradients against the peer library's trainer, on the same model and tokens."""

from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from settings import train
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from preference.model import batches
from preference.model.batches import Layout
from preference.model.probe import Abilities
from preference.model.scorer import ResponseLogps
from preference.objectives.registry import named

MAX_LENGTH = 18
BETA = 0.3


def trainer(loss_type: str, directory: Path) -> DPOTrainer:
    """The peer's trainer in float32 on the CPU, with a reference that is not the policy."""
    words = {f"w{i}": i for i in range(naive.VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), eos_token="w1", pad_token="w2"
    )
    AcceleratorState._reset_state(True)
    settings = DPOConfig(
        output_dir=str(directory),
        loss_type=loss_type,
        beta=BETA,
        use_cpu=True,
        bf16=False,
        disable_dropout=True,
        gradient_checkpointing=False,
        max_length=MAX_LENGTH,
        truncation_mode="keep_end",
        report_to=[],
    )
    text = {"prompt": "w5", "chosen": "w6", "rejected": "w7"}
    return DPOTrainer(
        model=naive.gpt2(1),
        ref_model=naive.gpt2(2),
        args=settings,
        train_dataset=Dataset.from_list([text]),
        processing_class=tokenizer,
    )


def gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(("loss_type", "normalize"), [("sigmoid", False), ("sigmoid_norm", True)])
@pytest.mark.parametrize("layout", ["plain", "shared", "packed"])
def test_loss_and_gradients_agree(
    loss_type: str, normalize: bool, layout: Layout, tmp_path: Path
) -> None:
    texts = naive.random_texts(12)
    peer = trainer(loss_type, tmp_path)
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
    ours, theirs = gradients(model), gradients(their_model)
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
