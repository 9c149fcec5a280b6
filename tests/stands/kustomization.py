"""What `kustomize build` makes of a folder, as far as ours need it. It refuses what it does not know."""

from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "labels", "images", "patches"}
_CLUSTER_WIDE = ("Namespace",)


def build(folder: Path) -> list[Manifest]:
    """The manifests of a folder with a kustomization.yaml.

    Raises:
        ValueError: a field that this does not know, a patch without a target, or a file that nothing names.
    """
    file = folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text(encoding="utf-8"))
    if unknown := kustomization.keys() - _KNOWN:
        raise ValueError(f"{file}: {sorted(unknown)}")
    patches = [folder / patch["path"] for patch in kustomization.get("patches", [])]
    resources = [folder / name for name in kustomization.get("resources", [])]
    if unnamed := set(folder.glob("*.yaml")) - {file, *patches, *resources}:
        raise ValueError(f"{file} does not name {sorted(path.name for path in unnamed)}")
    found: list[Manifest] = []
    for resource in resources:
        found += build(resource) if resource.is_dir() else _documents(resource)
    for patch in patches:
        for document in _documents(patch):
            found = _patched(found, document)
    for manifest in found:
        if "namespace" in kustomization and manifest["kind"] not in _CLUSTER_WIDE:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        for label in kustomization.get("labels", []):
            manifest["metadata"].setdefault("labels", {}).update(label["pairs"])
        for image in kustomization.get("images", []):
            _replace_image(manifest, image["name"], image["newTag"])
    return found


def pod(manifest: Manifest) -> Manifest:
    """The template of a Deployment's or a Job's pods."""
    template: Manifest = manifest["spec"]["template"]
    return template


def containers(manifest: Manifest) -> list[Manifest]:
    """All containers of a Deployment or a Job, those that run first too."""
    spec = pod(manifest)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def _documents(file: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def _id(manifest: Manifest) -> tuple[str, ...]:
    metadata = manifest["metadata"]
    return manifest["apiVersion"], manifest["kind"], metadata["name"], metadata.get("namespace", "")


def _patched(manifests: list[Manifest], patch: Manifest) -> list[Manifest]:
    if _id(patch) not in map(_id, manifests):
        raise ValueError(f"a patch for {_id(patch)}, which does not exist")
    if patch.get("$patch") == "delete":
        return [manifest for manifest in manifests if _id(manifest) != _id(patch)]
    return [_merged(manifest, patch) if _id(manifest) == _id(patch) else manifest for manifest in manifests]


def _merged(base: Any, patch: Any) -> Any:
    """A strategic merge: mappings by key, lists of named things by name, other lists as a whole."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {key: _merged(base[key], patch[key]) if key in base and key in patch else
                patch.get(key, base.get(key)) for key in {**base, **patch}}  # fmt: skip
    if isinstance(base, list) and isinstance(patch, list) and all("name" in entry for entry in [*base, *patch]):
        names = {entry["name"]: entry for entry in base}
        changed = {entry["name"]: _merged(names.get(entry["name"], {}), entry) for entry in patch}
        return list({**names, **changed}.values())
    return patch


def _replace_image(manifest: Manifest, name: str, tag: str) -> None:
    if "template" in manifest.get("spec", {}):
        for container in containers(manifest):
            if container["image"].partition(":")[0] == name:
                container["image"] = f"{name}:{tag}"
