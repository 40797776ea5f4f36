"""Templates: the text that turns become."""

import pytest

from preference.core.errors import InputError
from preference.data import templates
from preference.data.formats.example import Example, Turn, Unusable, UnusableError
from preference.data.templates import Chat, Dialogue, Plain

TURNS = (Turn("user", "Where?"), Turn("assistant", "Here."), Turn("user", "And?"))
TEXT, MESSAGES = Example((Turn("user", "Where?"),), (), "Where?"), Example(TURNS, ())
SOURCE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_plain_texts_stay_as_they_are() -> None:
    assert Plain().prompt(TEXT) == "Where?"
    assert Plain().answered(TEXT, " Here.") == "Where? Here."
    with pytest.raises(InputError, match="set it to auto, hh or a file"):
        Plain().prompt(MESSAGES)


def test_dialogues_have_markers_where_the_data_bring_none() -> None:
    assert Dialogue().prompt(TEXT) == "Where?"
    text = "\n\nHuman: Where?\n\nAssistant: Here.\n\nHuman: And?\n\nAssistant:"
    assert Dialogue().prompt(MESSAGES) == text
    assert Dialogue().answered(MESSAGES, " So.") == f"{text} So."


def test_a_chat_template_lays_out_prompt_and_answer() -> None:
    chat = Chat(SOURCE, {"bos_token": "<s>"})
    prompt = "<s><user>Where?</s><assistant>Here.</s><user>And?</s>"
    assert chat.prompt(MESSAGES) == f"{prompt}<assistant>"
    assert chat.answered(MESSAGES, "So.") == f"{prompt}<assistant>So.</s>"
    assert chat.end == "</s>"


def test_a_template_gives_the_same_every_day() -> None:
    source = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"
    assert Chat(source, {}).prompt(TEXT) == "26 Jul 2024 Where?"


def test_what_a_template_refuses_is_unusable() -> None:
    chat = Chat("{{ raise_exception('system first') }}", {})
    with pytest.raises(UnusableError) as caught:
        chat.prompt(MESSAGES)
    assert caught.value.reason is Unusable.REFUSED_BY_TEMPLATE
    assert isinstance(caught.value, templates.RefusedError)
    assert "system first" in caught.value.said


def test_a_template_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="the chat template is not valid"):
        Chat("{% for %}", {}).prompt(MESSAGES)


@pytest.mark.parametrize(
    ("name", "own", "kind"),
    [
        ("auto", "hh", Dialogue),
        ("auto", "none", Plain),
        ("auto", "chat", Chat),
        ("none", "chat", Plain),
        ("hh", "chat", Dialogue),
        ("chat", "hh", Chat),
        ("own.jinja", "hh", Chat),
    ],
)
def test_auto_is_the_one_that_goes_with_the_data(name: str, own: str, kind: type) -> None:
    assert type(templates.named(name, own, SOURCE, {})) is kind


def test_a_tokenizer_without_template_is_refused_where_one_is_needed() -> None:
    with pytest.raises(InputError, match=r"data\.template: auto takes the chat template"):
        templates.named("auto", "chat", None, {})
    assert isinstance(templates.named("auto", "hh", None, {}), Dialogue)
