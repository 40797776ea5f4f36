"""samples: what base, SFT model and policy answer to the same test prompts, side by side.

From answers that SFT model and policy draw, it estimates how far the policy is from SFT.
"""

from argparse import Namespace
from pathlib import Path

import pyarrow as pa

from preference.core import params, stage
from preference.core.progress import bar
from preference.evaluation import drift, generation
from preference.runtime import devices
from preference.store import examples, tables, texts
from preference.store.examples import Examples
from preference.store.text import write_json

PREPARED = Path("data/prepared/test.parquet")
# The SFT model comes last: it scores what the policy drew.
MODELS = {
    "base": Path("models/base"),
    "policy": Path("models/policy"),
    "sft": Path("models/sft"),
}
OUT, METRICS = Path("data/samples.parquet"), Path("results/metrics/samples.json")


def main(args: Namespace) -> None:
    settings = params.load()
    accelerator = devices.accelerator(settings)
    if not accelerator.is_main_process:
        return
    test = examples.read(PREPARED)
    asked = generation.distinct(test.prompts, settings.samples.prompts)
    prompts = [test.prompts[prompt] for prompt in asked]
    drawing = [
        test.prompts[p] for p in generation.distinct(test.prompts, settings.samples.kl_prompts)
    ]
    most = settings.samples.max_new_tokens
    answers: dict[str, list[str]] = {name: [] for name in MODELS}
    drawn: dict[str, Examples] = {}
    logps = {}
    total = len(MODELS) * len(prompts) + 2 * len(drawing)
    with bar("samples", total, "answers") as progress:
        for name, directory in MODELS.items():
            speaker = generation.open_model(directory, accelerator.device, test.template, test.end)
            with accelerator.autocast():
                for answer in generation.answers(speaker, prompts, most):
                    answers[name].append(answer)
                    progress.update()
                if name != "base":
                    drawn[name] = drift.draw(speaker, drawing, most)
                    logps[name] = drift.logps(speaker.model, drawn["policy"])
                    progress.update(len(drawing))
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
    moved = drift.metrics(drawn["policy"], drawn["sft"], logps["policy"], logps["sft"], most)
    write_json(METRICS, moved)


if __name__ == "__main__":
    stage.run(main)
