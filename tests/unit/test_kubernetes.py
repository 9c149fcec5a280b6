"""deploy/kubernetes: valid for the API, contained, and with the commands that the tests run outside a cluster.

The schemas are those of Kubernetes' own API, from kubernetes-validate. Only a cluster can show that the pods run and
that its network enforces the policies, so this is not tested here.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from guard_server import catalog, cli
from guard_server.serve import serving
from guard_server.serve.launch import ServeOptions
from tests.stands.compose import DOCKERFILES, SERVICES, example
from tests.stands.kustomization import Manifest, build, containers, pod

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
BUILT = {name: build(FOLDER / name) for name in ("base", "overlays/gpu", "overlays/gpu-queue")}
# The oldest API server that we say works, and the newest.
VERSIONS = ("1.30", "1.37")
# Of programs that a cluster has in addition; their schemas are theirs.
FOREIGN = {"keda.sh/v1alpha1": "ScaledObject", "monitoring.coreos.com/v1": "PodMonitor"}
EACH = pytest.mark.parametrize("name", BUILT)


def only(name: str, kind: str, called: str = "") -> Manifest:
    found = [
        manifest
        for manifest in BUILT[name]
        if manifest["kind"] == kind and called in ("", manifest["metadata"]["name"])
    ]
    assert len(found) == 1, (name, kind, called)
    return found[0]


def workloads(name: str) -> list[Manifest]:
    return [only(name, "Deployment"), only(name, "Job")]


def selected_by(selector: dict[str, Any], name: str) -> list[str]:
    """The workloads whose pods have all of these labels."""
    wanted = selector.get("matchLabels", selector)
    return [
        manifest["metadata"]["name"]
        for manifest in workloads(name)
        if wanted.items() <= pod(manifest)["metadata"]["labels"].items()
    ]


@EACH
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_for_the_api(name: str, version: str) -> None:
    assert BUILT[name]
    for manifest in BUILT[name]:
        if FOREIGN.get(manifest["apiVersion"]) != manifest["kind"]:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_field_would_be_found() -> None:
    wrong = {**only("base", "Deployment"), "spec": {**only("base", "Deployment")["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_a_patch_without_a_target_and_a_file_that_nothing_names_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")
    (tmp_path / "b.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}")
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\npatches: [{path: b.yaml}]")
    with pytest.raises(ValueError, match="does not exist"):
        build(tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]")
    with pytest.raises(ValueError, match="does not name"):
        build(tmp_path)


@EACH
def test_all_manifests_are_in_one_restricted_namespace(name: str) -> None:
    namespace = only(name, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [manifest["metadata"]["namespace"] for manifest in BUILT[name] if manifest != namespace]
    assert set(others) == {namespace["metadata"]["name"]}


@EACH
def test_selectors_and_references_lead_to_what_exists(name: str) -> None:
    guard, download = ["guard"], ["guard-download"]
    assert selected_by(only(name, "Deployment")["spec"]["selector"], name) == guard
    assert selected_by(only(name, "Service")["spec"]["selector"], name) == guard
    assert selected_by(only(name, "PodDisruptionBudget")["spec"]["selector"], name) == guard
    assert selected_by(only(name, "NetworkPolicy", "hosts-to-guard")["spec"]["podSelector"], name) == guard
    assert selected_by(only(name, "NetworkPolicy", "download-to-hub")["spec"]["podSelector"], name) == download
    claim, settings = only(name, "PersistentVolumeClaim"), only(name, "ConfigMap")
    for workload in workloads(name):
        volumes = {volume["name"]: volume for volume in pod(workload)["spec"]["volumes"]}
        assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        for container in containers(workload):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
            assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]


@EACH
def test_a_container_can_do_no_more_than_it_needs(name: str) -> None:
    for workload in workloads(name):
        spec = pod(workload)["spec"]
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
        user = spec["securityContext"]
        assert user["runAsNonRoot"] is True
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}
        # The image's user: its folders belong to it.
        assert f"useradd --uid {user['runAsUser']} " in DOCKERFILES["guard_server"]
        for container in containers(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
            writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
            expected = {"download": {"/models", "/tmp", "/cache"}, "guard": {"/tmp", "/cache", "/dev/shm"}}
            assert writable == expected.get(container["name"], set())


@EACH
def test_only_the_hosts_reach_the_guard_and_it_reaches_nothing(name: str) -> None:
    policies = [manifest for manifest in BUILT[name] if manifest["kind"] == "NetworkPolicy"]
    everything = next(policy for policy in policies if policy["metadata"]["name"] == "nothing")["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    # All policies of a pod add up, so none may open the guard's way out.
    of_guard = [policy for policy in policies if "guard" in selected_by(policy["spec"]["podSelector"], name)]
    assert not [policy for policy in of_guard if policy["spec"].get("egress")]
    sources = [entry for policy in of_guard for rule in policy["spec"].get("ingress", []) for entry in rule["from"]]
    hosts = {
        "namespaceSelector": {"matchLabels": {"qwen3guard/hosts": "true"}},
        "podSelector": {"matchLabels": {"qwen3guard/host": "true"}},
    }
    assert sources[0] == hosts
    assert len(sources) == (2 if name == "overlays/gpu-queue" else 1)
    assert all({"namespaceSelector", "podSelector"} <= source.keys() for source in sources)
    download = only(name, "NetworkPolicy", "download-to-hub")["spec"]
    ports = [(port["protocol"], port["port"]) for rule in download["egress"] for port in rule["ports"]]
    assert ports == [("UDP", 53), ("TCP", 53), ("TCP", 443)]
    assert "ingress" not in download


@EACH
def test_replicas_are_watched_spread_and_reached_by_the_same_host(name: str) -> None:
    deployment = only(name, "Deployment")
    guard = containers(deployment)[-1]
    port = guard["ports"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        # vLLM answers here without a key.
        assert guard[probe]["httpGet"] == {"path": "/health", "port": port["name"]}
    # A guard on a CPU compiles for minutes at its first start.
    assert guard["startupProbe"]["periodSeconds"] * guard["startupProbe"]["failureThreshold"] >= 900
    service = only(name, "Service")["spec"]
    assert service["sessionAffinity"] == "ClientIP"
    assert service["ports"] == [{"name": "http", "port": 8000, "targetPort": port["name"]}]
    assert deployment["spec"]["replicas"] > only(name, "PodDisruptionBudget")["spec"]["minAvailable"]
    (spread,) = pod(deployment)["spec"]["topologySpreadConstraints"]
    assert selected_by(spread["labelSelector"], name) == ["guard"]


@EACH
def test_one_thing_decides_how_many_replicas_there_are(name: str) -> None:
    scalers = [manifest for manifest in BUILT[name] if manifest["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    expected = {"base": ["HorizontalPodAutoscaler"], "overlays/gpu": [], "overlays/gpu-queue": ["ScaledObject"]}
    assert [scaler["kind"] for scaler in scalers] == expected[name]
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == only(name, "Deployment")["metadata"]["name"]
        assert "stabilizationWindowSeconds" in str(scaler)


def test_the_queue_is_counted_in_the_guards_own_namespace() -> None:
    (trigger,) = only("overlays/gpu-queue", "ScaledObject")["spec"]["triggers"]
    namespace = only("overlays/gpu-queue", "Namespace")["metadata"]["name"]
    assert trigger["type"] == "prometheus"
    assert f'vllm:num_requests_waiting{{namespace="{namespace}"}}' in trigger["metadata"]["query"]
    monitor = only("overlays/gpu-queue", "PodMonitor")["spec"]
    assert selected_by(monitor["selector"], "overlays/gpu-queue") == ["guard"]
    port = containers(only("overlays/gpu-queue", "Deployment"))[-1]["ports"][0]["name"]
    assert [(point["port"], point["path"]) for point in monitor["podMetricsEndpoints"]] == [(port, "/metrics")]


@pytest.mark.parametrize("name", ["overlays/gpu", "overlays/gpu-queue"])
def test_a_guard_on_a_gpu_has_its_own_and_the_image_for_it(name: str) -> None:
    for workload in workloads(name):
        assert {container["image"] for container in containers(workload)} == {"qwen3guard-guard:gpu"}
    deployment = only(name, "Deployment")
    assert containers(deployment)[-1]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    # An update needs no further GPU.
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    for workload in workloads("base"):
        assert {container["image"] for container in containers(workload)} == {"qwen3guard-guard:cpu"}


# ---- commands ----


def settings() -> dict[str, str]:
    data: dict[str, str] = only("base", "ConfigMap")["data"]
    return data


def test_the_settings_are_those_of_compose() -> None:
    values = example()
    assert {name: values[name] for name in settings()} == settings()


def test_serve_accepts_the_guards_command_which_is_that_of_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = containers(only("overlays/gpu", "Deployment"))[-1]
    assert "command" not in guard
    args = [re.sub(r"\$\((\w+)\)", lambda name: settings()[name[1]], word) for word in guard["args"]]
    asked: list[tuple[str, ServeOptions]] = []
    monkeypatch.setattr(serving, "serve", lambda model, options: asked.append((model, options)))
    variables = {entry["name"]: entry.get("value", "k") for entry in guard["env"]}
    result = CliRunner().invoke(cli.app, args, env=variables)
    assert result.exit_code == 0, result.output
    assert asked == [("gen-0.6b", ServeOptions("0.0.0.0", 8000, "huggingface", catalog.CONTEXT, "k"))]
    in_compose = [re.sub(r"\$\{(\w+):-[^}]*\}", r"$(\1)", word) for word in SERVICES["guard-gpu"]["command"]]
    assert guard["args"] == in_compose
    assert variables["HF_HUB_OFFLINE"] == SERVICES["guard-gpu"]["environment"]["HF_HUB_OFFLINE"]


@pytest.mark.parametrize("model", ["gen-0.6b", "Qwen/Qwen3Guard-Gen-4B"])
def test_a_guard_starts_when_its_model_was_downloaded_in_whole(tmp_path: Path, model: str) -> None:
    download = containers(only("base", "Job"))[0]["command"]
    wait = containers(only("base", "Deployment"))[0]["command"]
    python, models = tmp_path / "python3", tmp_path / "models"
    variables = {**settings(), "GUARD_MODEL": model, "PATH": f"{tmp_path}:/usr/bin:/bin"}

    def run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        command = [word.replace("/models", str(models)) for word in command]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout)

    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert run(download, 30).returncode == 1
    with pytest.raises(subprocess.TimeoutExpired):
        run(wait, 0.5)
    python.write_text('#!/bin/sh\necho "$@"\n')
    done = run(download, 30)
    assert done.stdout == f"-m guard_server download {model} --hub=huggingface\n"
    assert run(wait, 30).returncode == 0


# ---- vLLM's own chart ----


def test_the_charts_values_name_a_guard_and_the_tested_vllm() -> None:
    values = yaml.safe_load((FOLDER / "production-stack.yaml").read_text(encoding="utf-8"))
    (engine,) = values["servingEngineSpec"]["modelSpec"]
    guard = catalog.find(engine["modelURL"])
    assert isinstance(guard, catalog.Model)
    assert guard.name == catalog.DEFAULT
    assert f"{engine['repository']}:{engine['tag']}" == SERVICES["guard-gpu"]["build"]["args"]["BASE"]
    assert engine["vllmConfig"] == {"maxModelLen": catalog.CONTEXT, "enablePrefixCaching": True}
    secret = containers(only("base", "Deployment"))[-1]["env"][0]["valueFrom"]["secretKeyRef"]
    assert values["servingEngineSpec"]["vllmApiKey"] == {"secretName": secret["name"], "secretKey": secret["key"]}
    assert values["routerSpec"]["routingLogic"] == "prefixaware"
