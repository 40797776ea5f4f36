"""samples: what base, SFT model and policy answer to the same test prompts, side by side."""

from argparse import Namespace
from pathlib import Path

import pyarrow as pa

from preference import command, devices, generation, params, tables
from preference.progress import bar

PREPARED = Path("data/prepared/test.parquet")
MODELS = {
    "base": Path("models/base"),
    "sft": Path("models/sft"),
    "policy": Path("models/policy"),
}
OUT = Path("data/samples.parquet")


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    if not accelerator.is_main_process:
        return
    pairs = tables.read_pairs(PREPARED)
    asked = generation.distinct(pairs.prompt, settings.samples.prompts)
    prompts = [pairs.prompt[pair] for pair in asked]
    answers: dict[str, list[str]] = {name: [] for name in MODELS}
    with bar("samples", len(MODELS) * len(prompts), "answers") as progress:
        for name, directory in MODELS.items():
            speaker = generation.open_model(directory, accelerator.device)
            with accelerator.autocast():
                for answer in generation.answers(speaker, prompts, settings.samples.max_new_tokens):
                    answers[name].append(answer)
                    progress.update()
    # All three have the tokenizer of the base.
    texts = {
        "prompt": [generation.read(speaker, prompt.tolist()) for prompt in prompts],
        "chosen": [generation.read(speaker, pairs.chosen[pair].tolist()) for pair in asked],
    }
    context = {**devices.context(accelerator), **devices.versions()}
    schema = tables.SAMPLES.with_metadata(context)
    with tables.writing(OUT, schema) as writer:
        columns = {"row": pairs.rows[asked], **texts, **answers}
        writer.write_table(pa.table(columns, schema=schema))


if __name__ == "__main__":
    command.run(main)
