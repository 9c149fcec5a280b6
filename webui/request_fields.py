"""What a chat-completions request and its messages hold, and how each field is treated.

One table for what OpenAI, vLLM, Ollama, OpenRouter, Anthropic and Open WebUI define. A field that is not in it is
judged as soon as it holds text. What holds only numbers and labels costs nothing.
"""

from enum import StrEnum

from webui.bodies import Body
from webui.json_text import Found, find, is_sentence, is_text


class Treatment(StrEnum):
    """What happens to a field."""

    JUDGED = "judged"
    """All texts in it are judged as words of its sender. Also any field that is not in the table."""
    TOOLS = "tools"
    """Judged by itself: an unsafe definition is left out, and the request goes on without it."""
    LABEL = "label"
    """Holds a name, a number or a label of one word. Anything else in it is judged."""
    PASSED = "passed"
    """Holds settings, or is read by no model. A sentence in it is judged all the same."""
    MEDIA = "media"
    """Pictures, sounds and files, which nobody can judge: counted as such. A sentence in it is judged."""
    LEFT_OUT = "left out"
    """Replaces what the model reads with something that nobody can judge."""
    HOST = "host"
    """Open WebUI's own, which no model reads as it is. A sentence in it is judged unless Open WebUI wrote it."""
    SEPARATE = "separate"
    """Read elsewhere: the messages, their roles, their content."""


def _table(**fields: str) -> dict[str, Treatment]:
    return {name: Treatment[treatment.upper()] for treatment, names in fields.items() for name in names.split()}


REQUEST_FIELDS = _table(
    separate="messages",
    judged="documents prediction prompt suffix system instructions input chat_template_kwargs guided_regex "
    "guided_grammar guided_decoding structured_outputs grammar regex extra_body",
    tools="tools functions",
    left_out="chat_template template raw context prompt_token_ids prompt_embeds qwen3guard_mark qwen3guard_reply",
    media="images files attachments",
    host="metadata features tool_ids tool_servers skill_ids terminal_id background_tasks filter_ids session_id "
    "chat_id id message_id parent_id folder_id model_item variables chat_variables",
    passed="model models stream stream_options n seed temperature top_p top_k top_a min_p typical_p tfs_z max_tokens "
    "max_completion_tokens min_tokens num_ctx num_predict num_keep num_gpu num_thread num_batch "
    "presence_penalty frequency_penalty repetition_penalty repeat_penalty repeat_last_n length_penalty "
    "mirostat mirostat_eta mirostat_tau logprobs top_logprobs prompt_logprobs logit_bias best_of "
    "use_beam_search ignore_eos stop stop_token_ids bad_words include_stop_str_in_output skip_special_tokens "
    "spaces_between_special_tokens truncate_prompt_tokens echo add_generation_prompt continue_final_message "
    "add_special_tokens priority request_id cache_salt mm_processor_kwargs kv_transfer_params vllm_xargs "
    "logits_processors return_tokens_as_token_ids options keep_alive think thinking reasoning reasoning_effort "
    "include_reasoning verbosity parallel_tool_calls tool_choice function_call modalities audio service_tier "
    "store user safety_identifier prompt_cache_key prompt_cache_retention cache_control transforms route "
    "provider usage plugins response_format format guided_json guided_choice json_schema web_search_options",
)
"""Of the fields of a request."""

MESSAGE_FIELDS = _table(
    separate="content role tool_calls function_call output",
    judged="reasoning reasoning_content reasoning_details thinking thinking_blocks content_blocks refusal annotations "
    "audio provider_specific_fields extra_content embeds code citations sources",
    media="images files attachments",
    label="name tool_name tool_call_id id type index status phase channel recipient weight prefix partial "
    "cache_control",
    passed="timestamp model modelName models modelIdx finish_reason parentId childrenIds done info usage meta",
)
"""Of the fields of a message."""


def words_in(table: dict[str, Treatment], fields: Body, *, host: bool = False) -> Found:
    """The texts and the media of all fields that are not read elsewhere.

    Args:
        table: of these fields.
        fields: as they were sent.
        host: whether Open WebUI itself gets the request next, so that its own fields need no look.
    """
    texts: list[str] = []
    media: list[str] = []
    for name, value in fields.items():
        treatment = table.get(name, Treatment.JUDGED)
        if treatment is Treatment.JUDGED:
            found = find(value, name)
        elif treatment is Treatment.LABEL:
            found = Found(list(filter(is_text, find(value, name).texts)), [])
        elif treatment is Treatment.PASSED or (treatment is Treatment.HOST and not host):
            found = Found(sentences(find(value, name)), [])
        elif treatment is Treatment.MEDIA:
            found = media_in(value, name, documents=not host)
        else:
            continue
        # What the client named the field by is read where a server prints it.
        names = [name] if name not in table and is_sentence(name) else []
        texts += [*names, *found.texts]
        media += found.media
    return Found(texts, list(dict.fromkeys(media)))


def sentences(found: Found) -> list[str]:
    return [text for text in found.texts if is_sentence(text)]


def media_in(value: object, name: str, *, documents: bool) -> Found:
    """What a list of pictures, sounds or files holds.

    Args:
        value: Ollama's list of base64, or Open WebUI's of objects.
        name: of the field.
        documents: False where the text of files is not to be read, nor files to be counted.
    """
    found = find(value, name)
    media = list(found.media)
    if name == "images" and value and not media:
        media = ["image"]
    if not documents:
        return Found([], [kind for kind in media if kind not in ("file", "input_file")])
    return Found(sentences(found), media)
