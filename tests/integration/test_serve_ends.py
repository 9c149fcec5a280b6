"""How `qwen3guard serve` ends: with an explained error, or by a signal, and no process is left."""

import signal
import time
from pathlib import Path

from tests.stands.processes.guard_process import GuardProcess, guard_process, processes_of
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE


def test_an_unreachable_hub_ends_with_status_1_and_is_named(tmp_path: Path) -> None:
    # No server listens there, and the cache is empty.
    nowhere = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": str(tmp_path)}
    guard = GuardProcess("gen-0.6b", port=free_port(), env=nowhere)
    assert guard.end() == 1
    assert "huggingface could not be reached for Qwen/Qwen3Guard-Gen-0.6B" in guard.output
    assert "--hub modelscope" in guard.output
    assert "Traceback" not in guard.output


def test_an_option_unknown_to_vllm_ends_with_status_1_and_is_named() -> None:
    guard = GuardProcess("demo", "--no-such-option", port=free_port())
    assert guard.end() == 1
    assert "unrecognized arguments: --no-such-option" in guard.lines[-2]
    assert guard.lines[-1].startswith("Remedy: Check the options")


def test_an_interrupt_while_loading_leaves_no_process() -> None:
    with guard_process("demo") as guard:
        guard.wait_for("(EngineCore pid=")
        session = guard.session()
        assert len(processes_of(session)) >= 2
        guard.process.send_signal(signal.SIGINT)
        assert guard.end() == 0
        assert processes_of(session) == []
        assert guard.lines[-1] == "Stopped."


def test_a_stop_while_serving_leaves_no_process() -> None:
    with guard_process("demo") as guard:
        guard.wait_for("Try it:")
        session = guard.session()
        guard.process.terminate()
        assert guard.end() == 0
        assert processes_of(session) == []


def test_a_kill_leaves_no_process() -> None:
    with guard_process("demo") as guard:
        guard.wait_for("(EngineCore pid=")
        session = guard.session()
        guard.process.kill()
        guard.end()
        deadline = time.monotonic() + PATIENCE
        while processes_of(session):
            assert time.monotonic() < deadline, processes_of(session)
            time.sleep(0.2)
