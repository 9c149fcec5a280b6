"""Writes dist/: one file per plugin, which has the plugin and all modules that it uses, to be uploaded or pasted.

    python -m tools.bundle [--check]

The modules follow one another in the file, without their imports of each other. Existing bundlers either hide the
source (zip files and import hooks, which an admin cannot read before installing) or are no longer maintained.
"""

import argparse
import ast
import difflib
import re
import sys
import tomllib
from pathlib import Path

from guard_server import __version__

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = (
    "qwen3guard_filter",
    "qwen3guard_refusal",
    "qwen3guard_models",
    "qwen3guard_function_filter",
    "qwen3guard_function_models",
)
_OURS = ("moderation", "pipelines", "functions", "webui")
_HOSTS = ("pipelines", "functions")
# Parts of the host itself, which must keep their versions. Open WebUI has all of `openai` too.
_OF_THE_HOST = {
    "pipelines": {"aiohttp", "anyio", "pydantic", "starlette"},
    "functions": {"aiohttp", "anyio", "openai", "pydantic", "starlette"},
}
# Open WebUI replaces these words anywhere in a Function, also in texts (its utils/plugin.py).
_REWRITTEN = re.compile(r"from (?:utils|apps|main|config)")
# It formats what is saved, on its event loop: five seconds for a file of this size, and one with this line.
_UNFORMATTED = "# fmt: off\n"


class BundleError(Exception):
    """The modules cannot be joined into one file."""


def build(plugin: str) -> str:
    """The text of one plugin's file.

    Raises:
        BundleError: two modules define the same name, or a module has an import that cannot be flattened, or imports
            a package that is not a dependency of the project; or Open WebUI would change the text.
    """
    host = next(folder for folder in _HOSTS if (ROOT / folder / f"{plugin}.py").exists())
    entry = f"{host}.{plugin}"
    order: list[str] = []
    _visit(entry, order)
    imports: dict[str, set[str]] = {}
    bodies: list[str] = []
    defined: dict[str, str] = {}
    for module in order:
        source = _source(module)
        tree = ast.parse(source)
        for name in _defined(tree):
            if name in defined:
                raise BundleError(f"{name} is defined in {defined[name]} and in {module}: rename one")
            defined[name] = module
        bodies.append(f"# ---- {module} ----\n\n{_body(source, tree, imports)}")
    imported: dict[str, str] = {}
    for module, names in imports.items():
        for name in names:
            # `import a.b` and `import a.c` both define `a`.
            origin, known = (module, name) if name else (module.partition(".")[0], module.partition(".")[0])
            if imported.setdefault(known, origin) != origin:
                raise BundleError(
                    f"{known} is imported from {imported[known]} and from {origin}: use one of them whole"
                )
    if shadowed := sorted(imported.keys() & defined.keys()):
        raise BundleError(f"{shadowed[0]} is defined in {defined[shadowed[0]]} and imported elsewhere: rename it")
    text = f"{_header(entry, imports)}\n{_import_lines(imports)}\n\n\n" + "\n\n\n".join(bodies) + "\n"
    if host == "functions" and (found := _REWRITTEN.search(text)):
        raise BundleError(f"{entry} has {found[0]!r}, which Open WebUI would replace")
    return _in_ascii(text) if host == "functions" else text


def _in_ascii(text: str) -> str:
    """The same program without other characters than those of ASCII.

    Open WebUI reads a Function's text from its database several times a request. With an emoji in it, that takes
    twenty times as long.
    """
    escaped = text.encode("ascii", "backslashreplace").decode()
    if ast.dump(ast.parse(escaped)) != ast.dump(ast.parse(text)):
        raise BundleError("a raw text of a Function has characters beyond ASCII: move them to a text that is not raw")
    return escaped


def _visit(module: str, order: list[str]) -> None:
    if module in order:
        return
    for node in ast.parse(_source(module)).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OURS:
            if any(alias.asname for alias in node.names) or "." not in node.module:
                raise BundleError(f"{module}, line {node.lineno}: import names from a module of ours, without `as`")
            _visit(node.module, order)
    order.append(module)


def _source(module: str) -> str:
    return (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")


def _defined(tree: ast.Module) -> list[str]:
    names = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _body(source: str, tree: ast.Module, imports: dict[str, set[str]]) -> str:
    """The module without its docstring and imports. Adds the imports to `imports`."""
    lines = source.splitlines()
    for node in tree.body:
        is_docstring = node is tree.body[0] and isinstance(node, ast.Expr)
        if isinstance(node, ast.Import):
            for alias in node.names:
                imports.setdefault(alias.name, set()).add("")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] not in _OURS:
            imports.setdefault(node.module, set()).update(alias.name for alias in node.names)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(lines).strip()


def _import_lines(imports: dict[str, set[str]]) -> str:
    """The import statements. An empty name means the module itself."""
    plain = [f"import {module}" for module in sorted(imports) if "" in imports[module]]
    names = {module: ", ".join(sorted(filter(None, imports[module]))) for module in sorted(imports)}
    return "\n".join([*plain, *(f"from {module} import {names[module]}" for module in names if names[module])])


def _header(entry: str, imports: dict[str, set[str]]) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = {re.split(r"[~<>=!\[ ]", pin)[0] for pin in project["dependencies"]}
    host, _, plugin = entry.partition(".")
    required = {module.split(".")[0] for module in imports} - sys.stdlib_module_names - _OF_THE_HOST[host]
    if unknown := sorted(required - known):
        raise BundleError(f"{entry} imports {unknown[0]}, which is not a dependency of the project")
    # Names without versions: at each upload of any file the server runs pip once per name, and does not answer
    # meanwhile. If the package is installed, in any version, pip then needs no network. Without names it runs no pip.
    requirements = f"requirements: {', '.join(sorted(required))}\n" if required else ""
    title = (ast.get_docstring(ast.parse(_source(entry))) or "").splitlines()[0]
    return f'''"""
title: {plugin}
description: {title}
version: {__version__}
{requirements}"""

# GENERATED by `python -m tools.bundle` from the modules named below: change those, not this file.
{_UNFORMATTED if host == "functions" else ""}'''


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the single-file plugins.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if dist/ is not current")
    check = parser.parse_args().check
    stale = 0
    for plugin in PLUGINS:
        path = ROOT / "dist" / f"{plugin}.py"
        new = build(plugin)
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if new == old:
            continue
        if check:
            stale += 1
            sys.stderr.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(path), "built"))
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    if stale:
        print(f"{stale} of {len(PLUGINS)} plugins are not current: run `make bundle`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
