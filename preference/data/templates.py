"""How turns are laid out as one text: by a model's chat template, or in hh-rlhf's way."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from preference.core.errors import InputError, first_line
from preference.data.formats import hh
from preference.data.formats.example import Example, Turn, Unusable, UnusableError

# Templates that write the day of their use into the prompt would give other results every day.
DAY = {"%Y": "2024", "%m": "07", "%d": "26", "%b": "Jul", "%B": "July"}
TODAY = "".join(
    ["{%- macro strftime_now(format) -%}{{ format"]
    + [f" | replace('{sign}', '{word}')" for sign, word in DAY.items()]
    + [" }}{%- endmacro %}"]
)


ASKED = Turn("user", "question")


class Template(Protocol):
    """A way to lay out turns.

    Attributes:
        name: `none`, `hh` or `chat`.
        whole: whether an answer's text depends on the template, which also ends it; else it stands
            as it is, and EOS ends it.
    """

    name: str
    whole: bool

    def prompt(self, example: Example) -> str:
        """The text that an answer is asked for with."""
        ...

    def answered(self, example: Example, response: str) -> str:
        """The text of prompt and response together."""
        ...

    def around(self, example: Example, place: int) -> tuple[str, str]:
        """The text up to a turn of the assistant in the prompt, and the text with it."""
        ...


class Plain:
    """Texts as the data lay them out."""

    name, whole = "none", False

    def prompt(self, example: Example) -> str:
        if example.text is None:
            raise InputError(
                "data.template: none leaves texts as they are, and the data have messages; set it "
                "to auto, hh or a file"
            )
        return example.text

    def answered(self, example: Example, response: str) -> str:
        return self.prompt(example) + response

    def around(self, example: Example, place: int) -> tuple[str, str]:
        text, end = self.prompt(example), 0
        for turn in example.turns[: place + 1]:
            start = text.index(turn.content, end)
            end = start + len(turn.content)
        return text[:start], text[:end]


class Dialogue(Plain):
    """hh-rlhf's markers; a text that the data lay out themselves stays as it is."""

    name = "hh"

    def prompt(self, example: Example) -> str:
        return hh.text(example.turns) if example.text is None else example.text


class Chat:
    """A chat template as tokenizers have it, run in the sandbox of transformers.

    Args:
        source: the template, in Jinja.
        tokens: special tokens by name, for the template to write.
    """

    name, whole = "chat", True

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self._source = (TODAY if "strftime_now" in source else "") + source
        self._tokens = dict(tokens)

    def prompt(self, example: Example) -> str:
        return self.render(example.turns, asks=True)

    def answered(self, example: Example, response: str) -> str:
        return self.render([*example.turns, Turn("assistant", response)])

    @property
    def end(self) -> str:
        """What it writes behind an answer."""
        whole = self.render([ASKED, Turn("assistant", "answer")])
        return whole.rpartition("answer")[2]

    def around(self, example: Example, place: int) -> tuple[str, str]:
        before = self.render(example.turns[:place], asks=True)
        return before, self.render(example.turns[: place + 1])

    def render(self, turns: Sequence[Turn], *, asks: bool = False) -> str:
        """The text of some turns.

        Args:
            asks: let it end where an answer begins.

        Raises:
            UnusableError: the template refuses such turns.
            InputError: it is no valid template.
        """
        # It imports torch, and only a chat template needs it.
        from jinja2 import TemplateError, TemplateSyntaxError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            (text,), _ = render_jinja_template(
                [[turn._asdict() for turn in turns]],
                chat_template=self._source,
                add_generation_prompt=asks,
                **self._tokens,
            )
        except TemplateSyntaxError as error:
            raise InputError(f"the chat template is not valid: {first_line(error)}") from None
        except (TemplateError, TypeError) as error:
            raise RefusedError(first_line(error)) from None
        return text


class RefusedError(UnusableError):
    """A template refuses the turns of a row, and says why."""

    def __init__(self, said: str) -> None:
        super().__init__(Unusable.REFUSED_BY_TEMPLATE)
        self.said = said


def named(name: str, own: str, source: str | None, tokens: Mapping[str, str]) -> Template:
    """The template that `data.template` asks for.

    Args:
        own: the one that goes with the data, for `auto`.
        source: the tokenizer's own chat template, or the file's in its place.
        tokens: special tokens by name.

    Raises:
        InputError: the tokenizer has no chat template, and one is needed.
    """
    wanted = own if name == "auto" else name
    if wanted == "hh":
        return Dialogue()
    if wanted == "none":
        return Plain()
    if source is None:
        raise InputError(
            f"params.yaml: data.template: {name} takes the chat template of the base's tokenizer, "
            "which has none; set it to hh, or to a file ending in .jinja"
        )
    return Chat(source, tokens)
