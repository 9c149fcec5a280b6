"""The lines of the installed Open WebUI and Pipelines server that the plugins rely on, checked without starting either.

A new version that changes one of these lines may break the module in the last column; tests with the real hosts
show how. If only the form of a line has changed, change it here.
"""

import re
from typing import NamedTuple

import pytest

from demo.state import ROOT
from pipelines.service import user_headers
from tests.stands.host_sources import folder, names, source


class Line(NamedTuple):
    """One line of a host, as `ast.unparse` writes it."""

    file: str
    name: str
    """The function or class that it is in; empty for the file."""
    text: str
    relied_on_by: str


CHAT = "generate_openai_chat_completion"
PIPELINES = [
    # How a file is loaded and started, and gets its valves.
    Line("main.py", "load_module_from_path", "if 'requirements' in frontmatter:", "tools/bundle.py"),
    Line("main.py", "load_module_from_path", "spec_from_file_location(module_name, module_path)", "tools/bundle.py"),
    Line("main.py", "load_module_from_path", "return module.Pipeline()", "pipelines/qwen3guard_*.py"),
    Line("main.py", "load_modules_from_directory", "'valves.json'", "pipelines/lifecycle/saved_valves.py"),
    Line("main.py", "load_modules_from_directory", "valves = ValvesModel(**combined_valves)", "webui/settings.py"),
    Line("main.py", "on_startup", "await module.on_startup()", "pipelines/service.py"),
    Line("main.py", "on_shutdown", "await module.on_shutdown()", "pipelines/service.py"),
    Line("main.py", "reload", "await on_shutdown()", "pipelines/lifecycle/loop.py"),
    Line("main.py", "update_valves", "valves = ValvesModel(**form_data)", "webui/settings.py"),
    Line("main.py", "update_valves", "await pipeline.on_valves_updated()", "pipelines/service.py"),
    Line("config.py", "", "os.getenv('PIPELINES_API_KEY', '0p3n-w3bu!')", "pipelines/marks/signing.py"),
    # What is listed: a pipe with a `type` is not listed, unless it is a manifold or a filter.
    Line("main.py", "get_all_pipelines", "if hasattr(pipeline, 'type'):", "pipelines/qwen3guard_refusal.py"),
    Line("main.py", "get_all_pipelines", "if pipeline.type == 'manifold':", "pipelines/qwen3guard_models.py"),
    Line("main.py", "get_all_pipelines", "manifold_pipelines = pipeline.pipelines()", "pipelines/qwen3guard_models.py"),
    Line("main.py", "get_all_pipelines", "if pipeline.type == 'filter':", "pipelines/qwen3guard_filter.py"),
    Line("main.py", "get_all_pipelines", "pipeline.valves.priority", "webui/settings.py"),
    Line("main.py", "check_url", "app.state.PIPELINES = get_all_pipelines()", "pipelines/upstreams/listing.py"),
    # How inlet, outlet and pipe are called, and how their results are used.
    Line("main.py", "filter_inlet", "await pipeline.inlet(form_data.body, form_data.user)", "pipelines/*.py"),
    Line("main.py", "filter_outlet", "await pipeline.outlet(form_data.body, form_data.user)", "pipelines/*.py"),
    Line(
        "main.py",
        CHAT,
        "pipe(user_message=user_message, model_id=pipeline_id, messages=messages, body=form_data.model_dump())",
        "pipelines/qwen3guard_models.py",
    ),
    Line("main.py", CHAT, "run_in_threadpool(job)", "pipelines/lifecycle/server_threads.py"),
    Line("main.py", CHAT, "if isinstance(res, Iterator):", "pipelines/lifecycle/answer.py"),
    Line("main.py", CHAT, "line.startswith('data:')", "pipelines/lifecycle/answer.py"),
    Line(
        "main.py",
        CHAT,
        "if isinstance(res, str) or isinstance(res, Generator):",
        "pipelines/lifecycle/answer.py: an iterator that is no generator ends its stream itself",
    ),
    Line("main.py", CHAT, "if isinstance(res, dict):", "pipelines/lifecycle/later_reply.py"),
    Line("schemas.py", "OpenAIChatCompletionForm", "stream: bool = True", "pipelines/service.py"),
    Line("schemas.py", "OpenAIChatCompletionForm", "ConfigDict(extra='allow')", "pipelines/marks/*.py"),
]

RESPONSES = "utils/response.py"
MIDDLEWARE = "utils/middleware.py"
TASKS = (
    "title_generation",
    "tags_generation",
    "follow_up_generation",
    "query_generation",
    "image_prompt_generation",
    "autocomplete_generation",
    "emoji_generation",
    "moa_response_generation",
)
WEBUI = [
    # Which filters get a request, in which order, and what happens if one fails.
    Line("routers/pipelines.py", "get_sorted_filters", "model['pipeline']['pipelines'] == ['*']", "webui/settings.py"),
    Line(
        "routers/pipelines.py",
        "get_sorted_filters",
        "sorted(filters, key=lambda x: x['pipeline']['priority'])",
        "webui/settings.py",
    ),
    Line(
        "routers/pipelines.py",
        "process_pipeline_inlet_filter",
        "user = {'id': user.id, 'email': user.email, 'name': user.name, 'role': user.role}",
        "webui/request_context.py",
    ),
    Line(
        "routers/pipelines.py",
        "process_pipeline_inlet_filter",
        "request_data = {'user': user, 'body': payload}",
        "pipelines/qwen3guard_filter.py",
    ),
    Line(
        "routers/pipelines.py",
        "process_pipeline_inlet_filter",
        "sorted_filters.append(model)",
        "pipelines/qwen3guard_filter.py: a guarded model's own inlet comes last",
    ),
    Line(
        "routers/pipelines.py",
        "process_pipeline_outlet_filter",
        "sorted_filters = [model] + sorted_filters",
        "pipelines/marks/judged_mark.py: a guarded model's own outlet comes first",
    ),
    Line(
        "routers/pipelines.py",
        "process_pipeline_inlet_filter",
        "log.exception(f'Connection error: {e}')",
        "docs/coverage.md: Open WebUI goes on without a filter that it cannot reach",
    ),
    # The body that an outlet gets, and the parts of its result that are stored.
    Line(MIDDLEWARE, "outlet_filter_handler", "'content': m.get('content') or get_output_text", "webui/bodies.py"),
    Line(MIDDLEWARE, "outlet_filter_handler", "{'output': copy.deepcopy(m['output'])}", "webui/messages.py"),
    Line(MIDDLEWARE, "outlet_filter_handler", "{'sources': m['sources']}", "webui/messages.py"),
    Line(MIDDLEWARE, "outlet_filter_handler", "'originalContent': original_content", "webui/messages.py"),
    Line(MIDDLEWARE, "outlet_filter_handler", "'chat_id': chat_id", "webui/request_context.py"),
    # Metadata of a request.
    Line("main.py", "", "'variables': form_data.get('variables', {})", "pipelines/marks/trust_mark.py"),
    Line("main.py", "", "'chat_variables': chat_variables", "pipelines/marks/trust_mark.py"),
    # The admin's system prompt is put before the messages that the inlet got.
    Line(
        "utils/payload.py",
        "apply_system_prompt_to_body",
        "add_or_update_system_message(system, form_data.get('messages', []))",
        "pipelines/marks/trust_mark.py",
    ),
    Line(
        "utils/misc.py",
        "update_message_content",
        "message['content'] = f\"{content}\\n{message['content']}\"",
        "pipelines/marks/trust_mark.py",
    ),
    # How a shown answer is taken back.
    Line(RESPONSES, "", "elif event_type == 'response.completed':", "webui/guarded/chunks.py"),
    Line(RESPONSES, "", "new_output = final_output if final_output else current_output", "webui/guarded/chunks.py"),
    # Open WebUI's own tasks, and the answers that it can read.
    *(Line("constants.py", "TASKS", f"'{task}'", "webui/bodies.py") for task in TASKS),
    *(
        Line("routers/tasks.py", name, "'task_body': form_data", "webui/task_prompt.py")
        for name in ("generate_title", "generate_chat_tags", "generate_follow_ups", "generate_moa_response")
    ),
    Line(MIDDLEWARE, "", "JSONCodec.loads(title_string).get('title', user_message)", "webui/bodies.py"),
    Line(MIDDLEWARE, "", "JSONCodec.loads(tags_string).get('tags', [])", "webui/bodies.py"),
    Line("utils/task.py", "", "data.get('follow_ups')", "webui/bodies.py"),
    Line(MIDDLEWARE, "", "queries_response.get('queries', [])", "webui/bodies.py"),
    # The user's identity, for an upstream.
    *(
        Line("env.py", "", f"'{header}'", "pipelines/service.py")
        for header in user_headers({"id": "1", "name": "Ann", "email": "a@b", "role": "user"})
    ),
    Line("utils/headers.py", "include_user_info_headers", "quote(user.name.strip(), safe=' ')", "pipelines/service.py"),
    Line("utils/headers.py", "include_user_info_headers", "USER_EMAIL: user.email.strip(),", "pipelines/service.py"),
    Line("main.py", "", "@app.get('/api/version')", "pipelines/upstreams/webui_version.py"),
]

PLUGIN, FILTERS, PIPES, CHATS = "utils/plugin.py", "utils/filter.py", "functions.py", "utils/chat.py"
MODELS_FUNCTION = "functions/qwen3guard_function_models.py"
UPSTREAM = "functions/host/chat_completion.py"
CALLED = "generate_function_chat_completion"
FUNCTIONS = [
    # How a Function is loaded, and what is changed in it.
    Line(
        PLUGIN,
        "load_function_module_by_id",
        "module_name = f'function_{function_id}_{uuid.uuid4().hex}'",
        MODELS_FUNCTION,
    ),
    Line(PLUGIN, "load_function_module_by_id", "if hasattr(module, 'Pipe'):", "functions/qwen3guard_function_*.py"),
    Line(PLUGIN, "replace_imports", "content = content.replace(old, new)", "tools/bundle.py"),
    # How a filter is called.
    Line(FILTERS, "resolve_filter_pipeline", "if getattr(function_module, 'toggle', None):", "docs/functions.md"),
    Line(
        FILTERS,
        "resolve_filter_pipeline",
        "filter_ids.sort(key=lambda fid: (priorities.get(fid, 0), fid))",
        "functions/filter_valves.py",
    ),
    Line(FILTERS, "get_filter_params", "{'event': form_data} if filter_type == 'stream'", "functions/answers/*.py"),
    *(
        Line(MIDDLEWARE, "", f"filter_type='{hook}'", "functions/qwen3guard_function_filter.py")
        for hook in ("inlet", "request", "stream", "outlet")
    ),
    # What becomes of what a filter raises and returns.
    Line(
        MIDDLEWARE,
        "process_chat_payload",
        "raise Exception(f'{e}')",
        "functions/qwen3guard_function_filter.py: the notice is the error's text",
    ),
    # What Open WebUI found for a prompt: the filter passes its event on, and no other.
    Line(
        MIDDLEWARE,
        "process_chat_payload",
        "metadata['sources'] = sources[:] if sources else []",
        "functions/qwen3guard_function_filter.py",
    ),
    Line(
        MIDDLEWARE, "process_chat_payload", "events.append({'sources': sources})", "functions/answers/guarded_stream.py"
    ),
    Line(
        MIDDLEWARE,
        "streaming_chat_response_handler",
        "data = wrap_item(JSONCodec.dumps(event)) if event else None",
        "functions/answers/shown_events.py: an empty event is none",
    ),
    Line(MIDDLEWARE, "stream_body_handler", "if data:", "functions/answers/shown_events.py: an empty event is none"),
    Line(
        MIDDLEWARE,
        "streaming_chat_response_handler",
        "await asyncio.shield(response.body_iterator.aclose())",
        "functions/answers/guarded_stream.py: a refused answer is stopped as its user would stop it",
    ),
    Line(
        MIDDLEWARE,
        "outlet_filter_handler",
        "if outlet_result and outlet_result.get('messages'):",
        "functions/answers/stored_answer.py: without messages, the host stores nothing",
    ),
    Line(
        MIDDLEWARE,
        "non_streaming_chat_response_handler",
        "if ENABLE_API_OUTLET_FILTERS and (content or output):",
        "functions/qwen3guard_function_filter.py: an outlet sees a program's unstreamed answer before it is sent",
    ),
    Line("env.py", "", "os.getenv('ENABLE_API_OUTLET_FILTERS', 'True')", "functions/qwen3guard_function_filter.py"),
    Line("env.py", "", "DATA_DIR = Path(", "functions/host/data_folder.py"),
    Line(
        "models/functions.py", "get_active_filter_ids", "-> list[tuple[str, bool]]", "functions/host/function_record.py"
    ),
    # What a pipe lists, is given, and may return.
    Line(PIPES, "get_function_models", "sub_pipes = await function_module.pipes()", MODELS_FUNCTION),
    Line(PIPES, "get_function_models", "sub_pipe_id = f\"{pipe.id}.{p['id']}\"", "functions/answers/asked_model.py"),
    Line(PIPES, CALLED, "pipe_id, _ = pipe_id.split('.', 1)", "functions/answers/asked_model.py"),
    Line(PIPES, CALLED, "form_data['model'] = model_info.base_model_id", "functions/answers/asked_model.py"),
    *(
        Line(PIPES, CALLED, f"'{name}': {value}", MODELS_FUNCTION)
        for name, value in (("__metadata__", "metadata"), ("__request__", "request"))
    ),
    Line(PIPES, CALLED, "async for data in res.body_iterator:", "functions/answers/live_answer.py"),
    Line(
        PIPES,
        CALLED,
        "if isinstance(res, StreamingResponse) or isinstance(res, dict):",
        "functions/answers/failure.py",
    ),
    Line("utils/misc.py", "get_response_error_detail", "body = response.body", "functions/answers/failure.py"),
    # The route decides before it looks at a status.
    *(
        Line("main.py", "", f"@app.post('{path}')\n", "functions/answers/failure.py")
        for path in ("/api/message", "/api/v1/messages")
    ),
    Line("main.py", "generate_messages", "if isinstance(response, StreamingResponse):", "functions/answers/failure.py"),
    Line(
        PIPES,
        CALLED,
        "if all((k in metadata for k in ('session_id', 'chat_id', 'message_id'))):",
        f"{UPSTREAM}: without a session no Function can write into the page",
    ),
    # How a model is asked, and who may ask it.
    Line(
        CHATS,
        "generate_chat_completion",
        "request: Request, form_data: dict, user: Any, bypass_filter: bool=False, bypass_system_prompt: bool=False",
        UPSTREAM,
    ),
    Line(CHATS, "generate_chat_completion", "request.state.bypass_filter = bypass_filter", UPSTREAM),
    Line(CHATS, "generate_chat_completion", "if hasattr(request.state, 'metadata'):", UPSTREAM),
    Line(CHATS, "generate_chat_completion", "raise Exception('Model not found')", UPSTREAM),
    Line(
        CHATS, "generate_chat_completion", "await check_model_access(user, model)", "functions/answers/asked_model.py"
    ),
    Line("utils/models.py", "get_all_base_models", "get_function_models(request)", "functions/host/own_models.py"),
    Line("utils/models.py", "get_all_models", "if custom_model.is_active:", "functions/host/own_models.py"),
    Line("utils/models.py", "check_model_access", "has_base_model_access(", "functions/host/model_record.py"),
    Line("main.py", "_set_direct_model", "request.state.direct = True", "functions/answers/asked_model.py"),
    Line("utils/payload.py", "resolve_system_prompt", "metadata.get('variables', {})", "webui/system_texts.py"),
    Line(
        "routers/openai.py",
        "convert_responses_result",
        "'object': 'chat.completion'",
        f"{UPSTREAM}: only streamed answers of the Responses API come as they are",
    ),
]
_ASKED = re.compile(r"from_host\(\s*\"([\w.]+)\",\s*\"(\w+)\"\s*\)(?:\.(\w+))?")


def line_id(line: Line) -> str:
    return f"{line.file}:{line.name}:{line.text[:40]}"


@pytest.mark.parametrize("environment", ["pipelines", "pipelines-newest"])
@pytest.mark.parametrize("line", PIPELINES, ids=line_id)
def test_the_pipelines_server_has_the_code_that_plugins_rely_on(environment: str, line: Line) -> None:
    assert line.text in source(environment, line.file, line.name), line.relied_on_by


@pytest.mark.parametrize("line", [*WEBUI, *FUNCTIONS], ids=line_id)
def test_open_webui_has_the_code_that_plugins_rely_on(line: Line) -> None:
    assert line.text in source("webui", line.file, line.name), line.relied_on_by


def test_the_page_sends_the_readers_language() -> None:
    """`reader_language` of webui/bodies.py reads it. The page sends it, so it is only in the built frontend."""
    scripts = (folder("webui") / "frontend/_app").rglob("*.js")
    assert any("{{USER_LANGUAGE}}" in script.read_text(encoding="utf-8", errors="ignore") for script in scripts)


def test_open_webui_has_all_that_functions_ask_of_it() -> None:
    files = (ROOT / "functions").rglob("*.py")
    asked = {found for file in files for found in _ASKED.findall(file.read_text(encoding="utf-8"))}
    assert len(asked) > 10
    for module, name, method in asked:
        file = f"{module.replace('.', '/')}.py"
        assert name in names("webui", file), (module, name)
        assert not method or f"def {method}(" in source("webui", file, ""), (module, name, method)
