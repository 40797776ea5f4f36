"""The measured numbers as a table."""

from typing import Any

WORK = {"dpo": "DPO training", "kto": "KTO training", "scoring": "scoring"}
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
            f"{row['share_of_peak']:.0%}{_mfu(row, found)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lengths = ", ".join(f"{n} {v:.0f}" for n, v in found["tokens_per_pair"].items())
    lines += [
        "",
        f"{found['machine']}; {found.get('model', 'GPT-2 124M')}; {found['pairs']} pairs "
        f"({found['data']}; mean tokens: "
        f"{lengths}), {found['epochs']} epochs, medians of {found['rounds']} rounds; "
        f"peak of a plain product {found['matrix_peak_operations_per_second'] / 1e12:.2f} TFLOP/s.",
    ]
    return "\n".join(lines)


def inserted(text: str, shown: str, name: str = "table") -> str:
    """A page with a table between its two marks."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = text.split(start)
    return f"{before}{start}{shown}\n{end}{rest.split(end)[1]}"


def _mfu(row: dict[str, Any], found: dict[str, Any]) -> str:
    """The same as a share of what the maker says of a GPU."""
    said = found.get("nominal_operations_per_second")
    if not said:
        return ""
    return f" (MFU {row['share_of_peak'] * found['matrix_peak_operations_per_second'] / said:.0%})"


def _options(options: dict[str, Any]) -> str:
    if not options:
        return ""
    if "shuffle" in options:
        return f" (`kto.shuffle: {options['shuffle']}`)"
    if "reference" in options:
        return " (policy only)"
    reference = "precomputed" if options["precompute"] else "every step"
    more = ", this pipeline's allocator settings" if options.get("allocator") else ""
    more += ", Liger" if options.get("liger") else ""
    more += f", {options['attention']}" if "attention" in options else ""
    return f" (batch {options['batch_size']}, reference {reference}{more})"
