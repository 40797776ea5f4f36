"""The measured numbers as a table."""

from typing import Any

WORK = {"dpo": "DPO training", "kto": "KTO training", "scoring": "scoring"}
START, END = "<!-- table -->\n", "<!-- end of table -->"
SYSTEM = {"this": "this pipeline", "trl": "TRL", "original": "the original way"}


def markdown(found: dict[str, Any]) -> str:
    """One row a system; ratios are against this pipeline with its defaults."""
    ours = {
        row["work"]: row for row in found["rows"] if row["system"] == "this" and not row["options"]
    }
    lines = [
        "| work | system | s / pair | times this | without reference | peak memory "
        "| share of peak |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        own = ours[row["work"]]
        cells = [
            WORK[row["work"]],
            f"{SYSTEM[row['system']]}, {row['precision']}{_options(row['options'])}",
            f"{row['seconds_per_pair']:.3f}",
            f"{row['seconds_per_pair'] / own['seconds_per_pair']:.1f}",
            f"{row['seconds_per_pair_without_reference']:.3f}",
            f"{row['peak_bytes'] / 1e9:.2f} GB",
            f"{row['share_of_peak']:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lengths = ", ".join(f"{n} {v:.0f}" for n, v in found["tokens_per_pair"].items())
    lines += [
        "",
        f"{found['machine']}; GPT-2 124M; {found['pairs']} pairs ({found['data']}; mean tokens: "
        f"{lengths}), {found['epochs']} epochs, medians of {found['rounds']} rounds; "
        f"peak of a plain product {found['matrix_peak_operations_per_second'] / 1e12:.2f} TFLOP/s.",
    ]
    return "\n".join(lines)


def inserted(text: str, found: dict[str, Any]) -> str:
    """A page with the table between its two marks."""
    before, rest = text.split(START)
    return f"{before}{START}{markdown(found)}\n{END}{rest.split(END)[1]}"


def _options(options: dict[str, Any]) -> str:
    if not options:
        return ""
    if "shuffle" in options:
        return f" (`kto.shuffle: {options['shuffle']}`)"
    if "reference" in options:
        return " (policy only)"
    reference = "precomputed" if options["precompute"] else "every step"
    allocator = ", this pipeline's allocator settings" if options.get("allocator") else ""
    return f" (batch {options['batch_size']}, reference {reference}{allocator})"
