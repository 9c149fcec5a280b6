"""The chat template of a Qwen3Guard that can be asked for one token.

A request then may say how the reply begins (`chat_template_kwargs={"verdict_prefill": "Safety:"}`), and the first token
that the model generates is the verdict. Requests that say nothing get what the model's own template gives.
"""

_PREFILL = "{{ verdict_prefill | default('') }}"


def with_prefill(template: str) -> str:
    """`template` with a place for `verdict_prefill` at its end; unchanged where it has one.

    vLLM hands a template only those keywords of a request that the template itself names.
    Jinja drops one newline at the very end of a template: it must go before something is put after it.
    """
    if "verdict_prefill" in template:
        return template
    for newline in ("\r\n", "\n", "\r"):
        if template.endswith(newline):
            return template.removesuffix(newline) + _PREFILL
    return template + _PREFILL
