"""How two dialogues are split, written as the specification says it."""

MARKERS = ("\n\nAssistant:", "\nAssistant:", "Assistant:")


def as_specified(chosen: str, rejected: str) -> tuple[str, str, str, bool] | set[str]:
    """The three parts, and whether the prompt is a common prefix.

    Where there is no pair, the reasons of which any may be given.
    """
    for marker in MARKERS:
        head, found, answer = chosen.rpartition(marker)
        other_head, other_found, other_answer = rejected.rpartition(marker)
        if not (found and other_found) or len(head) != len(other_head):
            continue
        if head != other_head:
            return {"prompts_differ"}
        prompt, answer, other_answer = head + marker, answer.strip(), other_answer.strip()
        if prompt.strip() and answer and other_answer:
            return prompt, answer, other_answer, False
    shared = max(
        (chosen[:n] for n in range(len(chosen) + 1) if rejected[:n] == chosen[:n]), key=len
    )
    prompt = shared.strip()
    answer, other_answer = (text.removeprefix(shared).strip() for text in (chosen, rejected))
    if prompt and answer and other_answer:
        return prompt, answer, other_answer, True
    parts = {"empty_prompt": prompt, "empty_chosen": answer, "empty_rejected": other_answer}
    return {reason for reason, part in parts.items() if not part}
