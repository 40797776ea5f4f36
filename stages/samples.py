"""samples: what base, SFT model and policy answer to the same test prompts, side by side."""

from argparse import Namespace
from pathlib import Path

import pyarrow as pa

from preference.core import params, stage
from preference.core.progress import bar
from preference.evaluation import generation
from preference.runtime import devices
from preference.store import examples, tables, texts

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
    test = examples.read(PREPARED)
    asked = generation.distinct(test.prompts, settings.samples.prompts)
    prompts = [test.prompts[prompt] for prompt in asked]
    answers: dict[str, list[str]] = {name: [] for name in MODELS}
    with bar("samples", len(MODELS) * len(prompts), "answers") as progress:
        for name, directory in MODELS.items():
            speaker = generation.open_model(directory, accelerator.device, test.template, test.end)
            with accelerator.autocast():
                for answer in generation.answers(speaker, prompts, settings.samples.max_new_tokens):
                    answers[name].append(answer)
                    progress.update()
    # All three have the tokenizer of the base.
    found = texts.read(PREPARED, test.index.rows[asked])
    columns = {
        "row": test.index.rows[asked],
        "question": [text.question for text in found],
        "prompt": [
            speaker.tokenizer.decode(p.tolist(), skip_special_tokens=False) for p in prompts
        ],
        "chosen": [text.preferred for text in found],
        **answers,
    }
    schema = tables.SAMPLES.with_metadata(devices.context(accelerator))
    with tables.writing(OUT, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))


if __name__ == "__main__":
    stage.run(main)
