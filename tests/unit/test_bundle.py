from pathlib import Path

import pytest

from tests.stands.plugins import load
from tools import bundle


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project with our layout."""
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    monkeypatch.setattr(bundle, "__version__", "1.2.3")
    for folder in ("moderation", "pipelines"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["openai>=1.99"]\n')
    (tmp_path / "moderation" / "words.py").write_text(
        '"""Words."""\n\nimport re\n\n# Why: a comment.\nWORD = re.compile("a")\n'
    )
    (tmp_path / "pipelines" / "plugin.py").write_text(
        '"""A plugin.\n\nMore."""\n\nimport openai\n\nfrom moderation.words import WORD\n\n\n'
        "class Pipeline:\n    word = WORD\n"
    )
    return tmp_path


def test_a_plugin_and_its_modules_become_one_file(project: Path) -> None:
    text = bundle.build("plugin")
    (project / "built.py").write_text(text)
    assert load(project / "built.py").Pipeline.word.pattern == "a"
    assert "# Why: a comment." in text
    assert "from moderation" not in text
    assert "description: A plugin.\nversion: 1.2.3\nrequirements: openai\n" in text


def test_two_modules_with_the_same_name_are_refused(project: Path) -> None:
    with (project / "pipelines" / "plugin.py").open("a") as plugin:
        plugin.write("\n\nWORD = 1\n")
    with pytest.raises(bundle.BundleError, match=r"WORD is defined in moderation\.words and in pipelines\.plugin"):
        bundle.build("plugin")


def test_a_definition_that_hides_an_import_is_refused(project: Path) -> None:
    with (project / "pipelines" / "plugin.py").open("a") as plugin:
        plugin.write("\n\nfrom pathlib import Path\n")
    with (project / "moderation" / "words.py").open("a") as words:
        words.write("\n\nclass Path: ...\n")
    with pytest.raises(bundle.BundleError, match=r"Path is defined in moderation\.words and imported"):
        bundle.build("plugin")


def test_one_name_of_two_modules_is_refused(project: Path) -> None:
    with (project / "pipelines" / "plugin.py").open("a") as plugin:
        plugin.write("\n\nfrom asyncio import CancelledError\n")
    with (project / "moderation" / "words.py").open("a") as words:
        words.write("\n\nfrom concurrent.futures import CancelledError\n")
    with pytest.raises(
        bundle.BundleError, match=r"CancelledError is imported from concurrent\.futures and from asyncio"
    ):
        bundle.build("plugin")


def test_a_module_is_imported_even_if_another_imports_a_name_from_it(project: Path) -> None:
    with (project / "pipelines" / "plugin.py").open("a") as plugin:
        plugin.write("\n\nfrom re import escape\n")
    assert "import re\n" in bundle.build("plugin")
    assert "from re import escape\n" in bundle.build("plugin")


def test_an_import_that_cannot_be_flattened_is_refused(project: Path) -> None:
    with (project / "pipelines" / "plugin.py").open("a") as plugin:
        plugin.write("\n\nfrom moderation.words import WORD as OTHER\n")
    with pytest.raises(bundle.BundleError, match="without `as`"):
        bundle.build("plugin")


def test_a_plugin_without_third_party_packages_has_no_requirements(project: Path) -> None:
    plugin = project / "pipelines" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("import openai\n", "import pydantic\n"))
    assert bundle.build("plugin").split('"""')[1] == "\ntitle: plugin\ndescription: A plugin.\nversion: 1.2.3\n"


def test_a_function_is_ascii_and_says_the_same(project: Path) -> None:
    words = project / "moderation" / "words.py"
    words.write_text('import re\n\n# Wärter\nWORD = re.compile("炸弹💬é")\n')
    (project / "pipelines" / "plugin.py").rename(project / "pipelines" / "other.py")
    (project / "functions").mkdir()
    (project / "functions" / "plugin.py").write_text((project / "pipelines" / "other.py").read_text())
    text = bundle.build("plugin")
    (project / "built.py").write_text(text)
    assert text.isascii()
    assert load(project / "built.py").Pipeline.word.pattern == "炸弹💬é"
    words.write_text('import re\n\nWORD = re.compile(r"炸弹")\n')
    with pytest.raises(bundle.BundleError, match="a raw text"):
        bundle.build("plugin")


def test_an_import_that_nothing_declares_is_refused(project: Path) -> None:
    plugin = project / "pipelines" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("import openai\n", "import httpx\n"))
    with pytest.raises(bundle.BundleError, match=r"pipelines\.plugin imports httpx"):
        bundle.build("plugin")


@pytest.mark.parametrize(
    ("plugin", "required"),
    [
        ("qwen3guard_filter", ["requirements: openai"]),
        ("qwen3guard_models", ["requirements: openai"]),
        ("qwen3guard_refusal", []),
    ],
)
def test_only_openai_is_required_in_any_version(plugin: str, required: list[str]) -> None:
    """The server runs pip for each name, and does not answer meanwhile. A version could make pip replace the host's."""
    header = bundle.build(plugin).split('"""')[1]
    assert [line for line in header.splitlines() if line.startswith("requirements")] == required
