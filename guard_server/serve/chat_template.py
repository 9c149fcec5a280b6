"""Adds to the chat template of a Qwen3Guard what one-token verdicts need.

A request then may say how the reply begins (`chat_template_kwargs={"verdict_prefill": "Safety:"}`), and the first token
that the model generates is the verdict. For other requests the template works as before.
"""

_PREFILL = "{{ verdict_prefill | default('') }}"


def with_prefill(template: str) -> str:
    """`template` with `verdict_prefill` inserted at its end; unchanged if it uses that variable already.

    vLLM passes only those keywords of a request to a template that the template itself names.
    Jinja drops one newline at the very end of a template: it must be removed before the variable is appended.
    """
    if "verdict_prefill" in template:
        return template
    for newline in ("\r\n", "\n", "\r"):
        if template.endswith(newline):
            return template.removesuffix(newline) + _PREFILL
    return template + _PREFILL
