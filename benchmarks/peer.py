"""The peer library: TRL's DPOTrainer and KTOTrainer, on the same tokens."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from benchmarks.measured import Measured
from benchmarks.workload import Workload


def measure(work: str, workload: Workload, precision: str, options: dict[str, Any]) -> Measured:
    """Train with one choice of the peer's settings.

    Args:
        options: `batch_size` of one forward pass, `precompute` the reference or not, `loss_type`,
            the attention implementation, and `liger`: its fused output layer, by that package.
    """
    tokenizer = AutoTokenizer.from_pretrained(workload.model)
    tokenizer.pad_token = tokenizer.eos_token
    seconds = {"reference": 0.0}

    class Timed(DPOTrainer if work == "dpo" else KTOTrainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Dataset:
            start = time.perf_counter()
            found = super()._precompute_ref_logps(*args, **kwargs)
            seconds["reference"] += time.perf_counter() - start
            return found

    with TemporaryDirectory() as directory:
        config = (DPOConfig if work == "dpo" else KTOConfig)(
            output_dir=directory,
            loss_type=options.get("loss_type", "sigmoid" if work == "dpo" else "kto"),
            beta=0.1,
            max_length=workload.max_length,
            precompute_ref_log_probs=options["precompute"],
            per_device_train_batch_size=options["batch_size"],
            gradient_accumulation_steps=workload.step_size // options["batch_size"],
            num_train_epochs=workload.epochs,
            learning_rate=2e-5,
            weight_decay=0.01,
            warmup_steps=0.06,
            max_grad_norm=1.0,
            lr_scheduler_type="linear",
            optim="adamw_torch_fused",
            disable_dropout=True,
            gradient_checkpointing=False,
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            use_cpu=not torch.cuda.is_available(),
            use_liger_kernel=bool(options.get("liger")),
            dataloader_pin_memory=torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=workload.seed,
        )
        trainer = Timed(
            model=AutoModelForCausalLM.from_pretrained(
                workload.model,
                dtype=torch.float32,
                attn_implementation=options.get("attention", "sdpa"),
            ),
            args=config,
            train_dataset=_rows(work, workload, Path(directory)),
            processing_class=tokenizer,
        )
        start = time.perf_counter()
        trainer.train()
        return Measured(seconds=time.perf_counter() - start, reference_seconds=seconds["reference"])


def _rows(work: str, workload: Workload, cache: Path) -> Dataset:
    rows: list[dict[str, Any]] = []
    for prompt, chosen, rejected in workload.texts():
        if work == "dpo":
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        else:
            rows.append({"prompt": prompt, "completion": chosen, "label": True})
            rows.append({"prompt": prompt, "completion": rejected, "label": False})
    # On disk: the peer caches its precomputed reference beside the data.
    Dataset.from_list(rows).save_to_disk(cache / "rows")
    return Dataset.load_from_disk(cache / "rows")
