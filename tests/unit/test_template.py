import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from guard_server.serve.chat_template import with_prefill

# Possible ends of templates: text, a block, a trimmed block, with and without a newline at the end of the file.
TEMPLATES = [
    "{{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "{{ messages[-1].content }}{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}\n",
    "{{ messages[-1].content }}\n    {%- if add_generation_prompt -%} A: {%- endif -%}\n\n",
    "{%- if messages %}{{ '<think>\n\n</think>\n\n' }}{%- endif %}",
    "{{ messages[-1].content }} \r\n",
]
VALUES = {"messages": [{"role": "user", "content": "Good morning!"}], "add_generation_prompt": True}


def render(template: str, **values: object) -> str:
    # As transformers renders chat templates.
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template).render(**values)


@pytest.mark.parametrize("template", TEMPLATES)
def test_without_a_prefill_nothing_changes(template: str) -> None:
    assert render(with_prefill(template), **VALUES) == render(template, **VALUES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prefill_is_put_at_the_very_end(template: str) -> None:
    prefill = "Safety: Unsafe\nCategories:"
    assert render(with_prefill(template), **VALUES, verdict_prefill=prefill) == render(template, **VALUES) + prefill


def test_a_template_that_has_a_place_for_it_is_unchanged() -> None:
    template = "{{ messages[-1].content }}{{ verdict_prefill | default('') }}\n"
    assert with_prefill(template) == template
