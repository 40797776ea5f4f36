"""What models answer: against one forward pass a token, and as the samples show it."""

import warnings
from collections.abc import Callable
from pathlib import Path

import naive
import numpy as np
import project
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers import models as tokenizer_models
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GenerationConfig,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from preference.core.errors import InputError
from preference.data.formats import hh
from preference.evaluation import generation
from preference.evaluation.generation import Speaker
from preference.store import examples, tables

EOS = 0


def mistral() -> PreTrainedModel:
    """Looks back 5 tokens only."""
    torch.manual_seed(0)
    config = MistralConfig(**naive.LLAMA_SIZE, max_position_embeddings=64, sliding_window=5)
    return MistralForCausalLM(config).eval()


def bloom() -> PreTrainedModel:
    """Knows distances, and takes no positions."""
    torch.manual_seed(0)
    config = BloomConfig(
        vocab_size=naive.VOCABULARY, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3
    )
    return BloomForCausalLM(config).eval()


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": naive.gpt2,
    "llama": naive.llama,
    "mistral": mistral,
    "bloom": bloom,
}


def speaker(
    model: PreTrainedModel,
    eos: int = EOS,
    spelled: dict[int, str] | None = None,
    *,
    more: tuple[int, ...] = (),
    turns: bool = True,
) -> Speaker:
    """Tokens are one character each, but for those that are spelled otherwise."""
    texts = {id: chr(0x100 + id) for id in range(naive.VOCABULARY)} | (spelled or {})
    words = tokenizer_models.WordLevel({text: id for id, text in texts.items()}, unk_token="?")
    tokenizer = Tokenizer(words)
    tokenizer.decoder = decoders.Fuse()
    return Speaker(model, tokenizer, (eos, *more), turns)


def prompts(count: int, longest: int = 12, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, longest + 1, size=count)
    return [generator.integers(1, naive.VOCABULARY, size=n).astype(np.int32) for n in sizes]


def greedy(model: PreTrainedModel, prompt: np.ndarray, tokens: int, eos: int = EOS) -> list[int]:
    """A whole forward pass a token, without a cache; EOS is left out."""
    ids = prompt.tolist()
    for _ in range(tokens):
        with torch.no_grad():
            likeliest = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if likeliest == eos:
            break
        ids.append(likeliest)
    return ids[len(prompt) :]


def spell(ids: list[int]) -> str:
    return "".join(chr(0x100 + id) for id in ids)


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_a_forward_pass_a_token(name: str) -> None:
    model = MODELS[name]()
    asked = prompts(generation.BATCH + 4)
    expected = [spell(greedy(model, prompt, 10)) for prompt in asked]
    assert len(set(expected)) > len(expected) / 2
    assert list(generation.answers(speaker(model), asked, 10)) == expected
    alone = [next(generation.answers(speaker(model), [prompt], 10)) for prompt in asked]
    assert alone == expected


def without_repeats(model: PreTrainedModel, tokens: int) -> tuple[np.ndarray, list[int]]:
    """A prompt that the model follows with tokens that are all different."""
    for prompt in prompts(200):
        ids = greedy(model, prompt, tokens)
        if len(set(ids)) == tokens:
            return prompt, ids
    raise AssertionError("no such prompt")


def passes(model: PreTrainedModel) -> list[int]:
    """Grows by an entry a forward pass."""
    seen: list[int] = []
    model.register_forward_hook(lambda *_: seen.append(1))
    return seen


def test_eos_ends_an_answer() -> None:
    model = naive.gpt2()
    prompt, ids = without_repeats(model, 6)
    seen = passes(model)
    (answer,) = generation.answers(speaker(model, eos=ids[3]), [prompt], 20)
    assert answer == spell(ids[:3])
    assert len(seen) == 4
    assert next(generation.answers(speaker(model, eos=ids[0]), [prompt], 20)) == ""


def test_the_end_of_a_turn_ends_an_answer_too() -> None:
    model = naive.gpt2()
    prompt, ids = without_repeats(model, 6)
    seen = passes(model)
    someone = speaker(model, eos=ids[4], more=(ids[2],))
    assert list(generation.answers(someone, [prompt], 20)) == [spell(ids[:2])]
    assert len(seen) == 3
    assert generation.read(someone, ids) == spell(ids[:2])


def test_markers_end_no_answer_of_another_template() -> None:
    model = naive.gpt2()
    prompt, ids = without_repeats(model, 6)
    spelled = dict(zip(ids[2:], ("\n\nHuman:", "x"), strict=False))
    someone = speaker(model, spelled=spelled, turns=False)
    (answer,) = generation.answers(someone, [prompt], 6)
    assert answer == spell(ids[:2]) + "\n\nHuman:x" + spell(ids[4:])


@pytest.mark.parametrize(
    "pieces", [("\n\nHuman:",), ("\n", "\nHum", "an: x"), ("y\n\nAssistant:",)]
)
def test_another_turn_ends_an_answer(pieces: tuple[str, ...]) -> None:
    model = naive.gpt2()
    prompt, ids = without_repeats(model, 6)
    someone = speaker(model, spelled=dict(zip(ids[2:], pieces, strict=False)))
    seen = passes(model)
    (answer,) = generation.answers(someone, [prompt], 20)
    before = "y" if pieces[0].startswith("y") else ""
    assert answer == spell(ids[:2]) + before
    assert len(seen) == 2 + len(pieces)
    # Others of a batch go on, and what was begun is not in the answer.
    others = prompts(3, seed=1)
    alone = [next(generation.answers(someone, [other], 20)) for other in others]
    assert list(generation.answers(someone, [prompt, *others], 20)) == [answer, *alone]


def test_beginning_of_a_long_prompt_goes() -> None:
    for model in (naive.gpt2(positions=24), naive.llama(positions=24)):
        prompt = prompts(1, longest=1)[0].repeat(3)
        long = np.concatenate([*prompts(8), prompt])
        assert len(long) > 24
        expected = spell(greedy(model, long[-16:], 8))
        found = list(generation.answers(speaker(model), [long, prompt], 8))
        assert found == [expected, spell(greedy(model, prompt, 8))]


def test_no_room_for_a_prompt_is_refused_by_the_names_of_the_settings() -> None:
    someone = speaker(naive.gpt2(positions=24))
    assert len(list(generation.answers(someone, prompts(1), 23))) == 1
    with pytest.raises(InputError, match=r"samples\.max_new_tokens: 24 .* 24 tokens at most"):
        next(generation.answers(someone, prompts(1), 24))
    with pytest.raises(InputError, match="--max-new-tokens: 99 "):
        next(generation.answers(someone, prompts(1), 99, where="--max-new-tokens"))


def test_tokens_that_the_model_lacks_are_refused() -> None:
    with pytest.raises(InputError, match="up to 97, the model knows 97"):
        next(generation.answers(speaker(naive.gpt2()), [np.array([3, 97], dtype=np.int32)], 2))
    with pytest.raises(InputError, match="up to 120, the model knows 97"):
        next(generation.answers(speaker(naive.gpt2(), eos=120), prompts(1), 2))


def test_drawn_answers_are_those_of_the_generators_seed() -> None:
    someone, asked = speaker(naive.gpt2()), prompts(5)

    def drawn(temperature: float, seed: int) -> list[str]:
        generator = torch.Generator().manual_seed(seed)
        found = generation.answers(someone, asked, 12, temperature=temperature, generator=generator)
        return list(found)

    state = torch.random.get_rng_state()
    assert drawn(1.0, 3) == drawn(1.0, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert drawn(1.0, 3) != drawn(1.0, 4)
    likeliest = list(generation.answers(someone, asked, 12))
    assert drawn(1.0, 3) != likeliest
    assert drawn(1e-30, 3) == likeliest


def test_draws_follow_the_models_distribution() -> None:
    model, count = naive.gpt2(), 4000
    prompt = prompts(1)[0]
    found = generation.answers(
        # EOS shows as an empty answer.
        speaker(model),
        [prompt] * count,
        1,
        temperature=2.0,
        generator=torch.Generator().manual_seed(0),
    )
    drawn = np.bincount([ord(text) - 0x100 if text else EOS for text in found], minlength=97)
    with torch.no_grad():
        logits = model(torch.from_numpy(prompt)[None].long()).logits[0, -1]
    expected = (logits / 2).softmax(-1).numpy()
    deviation = np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(drawn / count - expected) < 5 * deviation + 1 / count).all()


def test_drawn_ids_end_with_what_ended_them() -> None:
    model, asked = naive.gpt2(positions=24), [prompts(1)[0]] * 40
    # One token in ten ends an answer; one more is another turn's marker.
    ends = tuple(range(1, 10))
    someone = speaker(model, more=ends, spelled={10: "\n\nHuman:"})
    found = list(generation.drawn(someone, asked, 12))
    assert [answer.tolist() for _, answer in generation.drawn(someone, asked, 12)] == [
        answer.tolist() for _, answer in found
    ]
    stops, seen = {EOS, *ends, 10}, set()
    for prompt, answer in found:
        np.testing.assert_array_equal(prompt, asked[0][-12:])
        *before, last = answer.tolist()
        assert not stops & set(before)
        assert last in stops or len(answer) == 12
        seen.add("marker" if last == 10 else "end" if last in stops else "cut")
    assert seen == {"marker", "end", "cut"}


def test_what_a_models_files_say_of_generating_is_put_aside() -> None:
    model, asked = naive.gpt2(), prompts(3)
    expected = list(generation.answers(speaker(model), asked, 10))
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=3.0, num_beams=2, max_length=5
    )
    assert list(generation.answers(speaker(model), asked, 10)) == expected


def test_nothing_is_said_on_the_side(capfd: pytest.CaptureFixture[str]) -> None:
    asked = prompts(3)
    for prompt in asked:
        # As Arrow's arrays are.
        prompt.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(generation.answers(speaker(naive.gpt2()), asked, 4))) == 3
    assert capfd.readouterr() == ("", "")


def test_no_prompts_have_no_answers() -> None:
    assert list(generation.answers(speaker(naive.gpt2()), [], 4)) == []


def test_what_is_heard_grows_into_the_answer() -> None:
    model = naive.gpt2()
    prompt, ids = without_repeats(model, 6)
    pieces = (" a ", "\n", "\nb", "\n\nHum", "an: c")
    someone = speaker(model, spelled=dict(zip(ids, pieces, strict=False)))
    heard: list[str] = []
    (answer,) = generation.answers(someone, [prompt], 20, hear=lambda texts: heard.append(texts[0]))
    assert heard == ["a", "a", "a \n\nb", "a \n\nb", "a \n\nb"]
    assert answer == "a \n\nb"


def test_distinct_prompts_are_the_first_of_each() -> None:
    rows = naive.ragged([[1, 2], [], [1], [1, 2], [2], [1], [3]])
    assert generation.distinct(rows, 3) == [0, 2, 4]
    assert generation.distinct(rows, 10) == [0, 2, 4, 6]
    assert generation.distinct(naive.ragged([[], []]), 2) == []


SAMPLES = Path("data/samples.parquet")


def sample(where: Path) -> bytes:
    done = project.run(where, "python", "-m", "stages.samples")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return (where / SAMPLES).read_bytes()


def test_samples_are_what_the_three_models_answer(another: Path) -> None:
    project.set_params(another, {"samples.prompts": 6, "samples.max_new_tokens": 12})
    first = sample(another)
    assert sample(another) == first
    table = pq.read_table(another / SAMPLES)
    assert table.schema.equals(tables.SAMPLES)
    found = table.to_pydict()
    assert len(set(found["prompt"])) == len(found["prompt"]) == 6
    prepared = examples.read(another / "data/prepared/test.parquet")
    at = generation.distinct(prepared.prompts, 6)
    assert found["row"] == prepared.index.rows[at].tolist()
    # As the raw rows have them.
    raw = pq.read_table(another / "data/raw/test.parquet").to_pylist()
    split = [hh.split(**raw[row]) for row in found["row"]]
    assert all(isinstance(pair, hh.Pair) for pair in split)
    assert found["chosen"] == [pair.chosen for pair in split if isinstance(pair, hh.Pair)]
    asked = [pair.prompt.split(hh.HUMAN)[-1] for pair in split if isinstance(pair, hh.Pair)]
    assert found["question"] == [text.removesuffix(hh.ASSISTANT).strip() for text in asked]
    for name in ("base", "sft", "policy"):
        someone = generation.open_model(another / "models" / name, torch.device("cpu"))
        ids = [prepared.prompts[prompt] for prompt in at]
        assert found[name] == list(generation.answers(someone, ids, 12))
        first_ids = greedy(someone.model, ids[0], 12, someone.ends[0])
        text = someone.tokenizer.decode(first_ids)
        assert found[name][0] == text.partition(hh.HUMAN)[0].strip()
        assert found["prompt"][0] == someone.tokenizer.decode(ids[0].tolist())
    assert all(text.endswith(hh.ASSISTANT) for text in found["prompt"])
    assert not any("<|endoftext|>" in text for text in found["chosen"])


def test_samples_that_leave_no_room_are_refused_and_leave_earlier_ones(another: Path) -> None:
    project.set_params(another, {"samples.max_new_tokens": 160})
    (another / SAMPLES).write_bytes(b"earlier")
    done = project.run(another, "python", "-m", "stages.samples")
    assert done.returncode == 1
    assert "error: samples.max_new_tokens: 160 " in done.stderr
    assert "Traceback" not in done.stderr
    assert (another / SAMPLES).read_bytes() == b"earlier"
