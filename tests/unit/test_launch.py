from dataclasses import replace
from pathlib import Path

import pytest

from guard_server.catalog import DEMO_TOKENIZER, MODELS
from guard_server.errors import NotEnoughMemory, UnsupportedFlag
from guard_server.serve.checkpoint import Checkpoint, load
from guard_server.serve.hardware import Hardware
from guard_server.serve.launch import GIB, Launch, ServeOptions, plan
from tests.stands.checkpoints.published_configs import config

TEMPLATE = Path("/somewhere/chat_template.jinja")
CONFIG_4B = config("gen-4b")
REAL = Checkpoint("Qwen/Qwen3Guard-Gen-4B", MODELS["gen-4b"].served_names, CONFIG_4B, "", MODELS["gen-4b"])
TINY_CONFIG = {**CONFIG_4B, "hidden_size": 256, "num_hidden_layers": 4, "vocab_size": 8192, "intermediate_size": 512}
GPU = Hardware("gpu", 24 * GIB, 23 * GIB, vllm_command=True)
CPU = Hardware("cpu", 32 * GIB, 30 * GIB)


@pytest.fixture
def tiny(tmp_path: Path) -> Checkpoint:
    config = {**TINY_CONFIG, "max_position_embeddings": 1536}
    return Checkpoint(str(tmp_path), MODELS["demo"].served_names, config, "", MODELS["demo"])


def value(launch: Launch, flag: str) -> str:
    assert launch.argv.count(flag) == 1
    return launch.argv[launch.argv.index(flag) + 1]


def test_the_articles_settings_need_the_articles_memory() -> None:
    share = float(value(plan(ServeOptions(), REAL, GPU, TEMPLATE), "--gpu-memory-utilization"))
    assert share * 24 == pytest.approx(14.0, abs=0.1)


def test_the_guard_leaves_the_rest_of_a_gpu_to_the_chat_model() -> None:
    large = replace(GPU, total=80 * GIB, free=79 * GIB)
    assert float(value(plan(ServeOptions(), REAL, large, TEMPLATE), "--gpu-memory-utilization")) < 0.2


def test_a_smaller_gpu_gets_a_smaller_cache() -> None:
    small = replace(GPU, total=12 * GIB, free=12 * GIB)
    share = float(value(plan(ServeOptions(max_model_len=4096), REAL, small, TEMPLATE), "--gpu-memory-utilization"))
    assert share <= 0.92


def test_too_little_memory_is_reported_with_the_numbers_and_a_remedy() -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        plan(ServeOptions(), REAL, replace(GPU, total=8 * GIB, free=8 * GIB), TEMPLATE)
    assert "8.0 GiB are free" in caught.value.cause
    assert "weights 7.5 GiB" in caught.value.cause
    assert "gen-0.6b" in caught.value.remedy
    assert "--max-model-len 5120" in caught.value.remedy


def test_on_a_cpu_too_little_memory_is_reported() -> None:
    with pytest.raises(NotEnoughMemory, match="free"):
        plan(ServeOptions(), REAL, replace(CPU, free=9 * GIB), TEMPLATE)


def test_flags_on_memory_switch_our_own_estimate_off() -> None:
    launch = plan(ServeOptions(vllm=("--gpu_memory_utilization=0.3",)), REAL, replace(GPU, free=GIB), TEMPLATE)
    assert launch.argv[-1] == "--gpu_memory_utilization=0.3"
    assert "--gpu-memory-utilization" not in launch.argv


def test_unknown_memory_is_left_to_vllm() -> None:
    launch = plan(ServeOptions(), REAL, Hardware("gpu", None, None, vllm_command=True), TEMPLATE)
    assert "--gpu-memory-utilization" not in launch.argv
    assert any("vLLM decides" in note for note in launch.notes)


def test_a_checkpoint_of_unknown_sizes_is_left_to_vllm() -> None:
    strange = replace(REAL, config={"model_type": "something-else"})
    assert any("vLLM decides" in note for note in plan(ServeOptions(), strange, CPU, TEMPLATE).notes)


def test_a_gpu_without_bfloat16_gets_float16() -> None:
    assert value(plan(ServeOptions(), REAL, replace(GPU, bfloat16=False), TEMPLATE), "--dtype") == "float16"
    assert value(plan(ServeOptions(), REAL, GPU, TEMPLATE), "--dtype") == "bfloat16"


def test_a_small_model_on_a_cpu_starts_quickly_and_computes_exactly(tiny: Checkpoint) -> None:
    launch = plan(ServeOptions(), tiny, CPU, TEMPLATE)
    assert value(launch, "--dtype") == "float32"
    assert "--enforce-eager" in launch.argv
    assert launch.env["TORCH_COMPILE_DISABLE"] == "1"
    assert launch.env["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert value(launch, "--block-size") == "32"


def test_a_real_model_on_a_cpu_is_compiled_and_has_room_for_three_conversations() -> None:
    launch = plan(ServeOptions(), REAL, CPU, TEMPLATE)
    assert value(launch, "--dtype") == "bfloat16"
    assert "--enforce-eager" not in launch.argv
    assert "TORCH_COMPILE_DISABLE" not in launch.env
    assert launch.env["VLLM_CPU_KVCACHE_SPACE"] == "5"


def test_the_cache_on_a_cpu_is_not_rounded_up_to_more_than_the_memory() -> None:
    launch = plan(ServeOptions(), REAL, replace(CPU, free=13 * GIB), TEMPLATE)
    assert launch.env["VLLM_CPU_KVCACHE_SPACE"] == "2"


def test_the_context_is_capped_to_the_checkpoints_own_and_that_is_reported(tiny: Checkpoint) -> None:
    launch = plan(ServeOptions(), tiny, CPU, TEMPLATE)
    assert value(launch, "--max-model-len") == "1536"
    assert any("1536 tokens instead of 10240" in note for note in launch.notes)
    assert value(plan(ServeOptions(), REAL, CPU, TEMPLATE), "--max-model-len") == "10240"


def test_the_key_is_not_on_the_command_line() -> None:
    launch = plan(ServeOptions(api_key="a-secret"), REAL, GPU, TEMPLATE)
    assert launch.forced_env["VLLM_API_KEY"] == "a-secret"
    assert not any("a-secret" in word for word in launch.argv)


def test_the_demo_names_itself(tiny: Checkpoint) -> None:
    assert value(plan(ServeOptions(), tiny, CPU, TEMPLATE), "--served-model-name") == "qwen3guard-demo"


def test_both_demo_guards_get_the_one_tokenizer_that_they_share() -> None:
    for name in ("demo", "demo-stream"):
        launch = plan(ServeOptions(), load(name, "huggingface"), CPU, TEMPLATE)
        assert value(launch, "--tokenizer") == str(DEMO_TOKENIZER)
        assert value(launch, "--chat-template") == str(TEMPLATE)
    assert "--tokenizer" not in plan(ServeOptions(), REAL, CPU, TEMPLATE).argv


def test_a_real_model_answers_to_its_hub_id_and_its_short_name() -> None:
    launch = plan(ServeOptions(), REAL, GPU, TEMPLATE)
    start = launch.argv.index("--served-model-name") + 1
    assert launch.argv[start : start + 2] == ("Qwen/Qwen3Guard-Gen-4B", "gen-4b")


@pytest.mark.parametrize(("hardware", "block"), [(CPU, "32"), (GPU, "16")])
def test_a_stream_model_is_pooled_with_a_prefix_cache_and_our_plugins(hardware: Hardware, block: str) -> None:
    config = CONFIG_4B | {"architectures": ["Qwen3ForGuardModel"]}
    stream = Checkpoint("x/y", ("x/y",), config, "", MODELS["stream-4b"])
    launch = plan(ServeOptions(), stream, hardware, TEMPLATE)
    assert value(launch, "--runner") == "pooling"
    assert value(launch, "--config-format") == "qwen3guard"
    assert value(launch, "--block-size") == block
    assert "--enable-prefix-caching" in launch.argv
    assert launch.plugins == ("qwen3guard_model", "qwen3guard_stream")
    assert plan(ServeOptions(), REAL, hardware, TEMPLATE).plugins == ("qwen3guard_moderation",)


def test_vllm_without_its_command_is_started_by_its_module() -> None:
    assert "vllm.entrypoints.openai.api_server" in plan(ServeOptions(), REAL, CPU, TEMPLATE).argv
    argv = plan(ServeOptions(), REAL, GPU, TEMPLATE).argv
    assert argv[1:5] == ("-m", "vllm.entrypoints.cli.main", "serve", "Qwen/Qwen3Guard-Gen-4B")


def test_models_come_from_the_requested_hub() -> None:
    assert plan(ServeOptions(hub="modelscope"), REAL, GPU, TEMPLATE).forced_env["VLLM_USE_MODELSCOPE"] == "true"
    assert plan(ServeOptions(), REAL, GPU, TEMPLATE).forced_env["VLLM_USE_MODELSCOPE"] == "false"


def test_a_model_in_a_folder_asks_no_hub(tiny: Checkpoint) -> None:
    assert plan(ServeOptions(), tiny, CPU, TEMPLATE).env["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in plan(ServeOptions(), REAL, CPU, TEMPLATE).env


def test_further_flags_come_last_so_that_they_win() -> None:
    launch = plan(ServeOptions(vllm=("--max-num-seqs", "4")), REAL, GPU, TEMPLATE)
    assert launch.argv[-2:] == ("--max-num-seqs", "4")


@pytest.mark.parametrize("flag", ["--uds", "--ssl_certfile=x.pem"])
def test_a_flag_that_would_hide_vllm_is_refused(flag: str) -> None:
    with pytest.raises(UnsupportedFlag, match="would hide"):
        plan(ServeOptions(vllm=(flag,)), REAL, GPU, TEMPLATE)
