"""The demo's ports: set by environment variables; a port that is in use is an error."""

import os
import socket

import pytest

from demo.errors import DemoPortTaken, StackError
from demo.stack.ports import HOST, Ports


def test_the_environment_chooses_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARD_PORT", "8001")
    assert Ports.from_environment() == Ports(guard=8001)


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", "80.5"])
def test_an_invalid_port_is_an_error_that_names_its_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WEBUI_PORT", text)
    with pytest.raises(StackError, match="WEBUI_PORT"):
        Ports.from_environment()


def test_a_port_in_use_is_an_error_that_names_the_server_the_variable_and_the_other_program() -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(DemoPortTaken) as caught:
            Ports(pipelines=port).check_free(["pipelines"])
    for part in (str(port), "pipelines", "PIPELINES_PORT", f"pid {os.getpid()}"):
        assert part in str(caught.value)


def test_only_the_needed_ports_are_checked() -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        ports = Ports.free()
        Ports(ports.webui, listener.getsockname()[1], ports.pipelines, ports.chat).check_free(["webui", "chat"])


def test_free_ports_are_four_different_ones() -> None:
    ports = Ports.free()
    assert len({ports.webui, ports.guard, ports.pipelines, ports.chat}) == 4
