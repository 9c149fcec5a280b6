import re
from pathlib import Path

import pytest

from pipelines import bundle
from tests.plugin_loader import load


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in our layout."""
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    for folder in ("moderation", "pipelines"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\ndependencies = ["openai~=3.52"]\n')
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
    assert "description: A plugin.\nversion: 1.2.3\nrequirements: openai~=3.52\n" in text


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


def test_a_module_is_imported_also_where_another_takes_a_name_of_it(project: Path) -> None:
    with (project / "pipelines" / "plugin.py").open("a") as plugin:
        plugin.write("\n\nfrom re import escape\n")
    assert "import re\n" in bundle.build("plugin")
    assert "from re import escape\n" in bundle.build("plugin")


def test_an_import_that_cannot_be_flattened_is_refused(project: Path) -> None:
    with (project / "pipelines" / "plugin.py").open("a") as plugin:
        plugin.write("\n\nfrom moderation.words import WORD as OTHER\n")
    with pytest.raises(bundle.BundleError, match="without `as`"):
        bundle.build("plugin")


def test_a_plugin_that_needs_nothing_of_the_registry_names_no_requirements(project: Path) -> None:
    plugin = project / "pipelines" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("import openai\n", "import pydantic\n"))
    assert bundle.build("plugin").split('"""')[1] == "\ntitle: plugin\ndescription: A plugin.\nversion: 1.2.3\n"


@pytest.mark.parametrize(
    ("plugin", "names"),
    [
        ("qwen3guard_filter", {"openai", "httpx2"}),
        ("qwen3guard_models", {"openai", "httpx2"}),
        ("qwen3guard_refusal", set()),
    ],
)
def test_the_server_can_read_the_requirements(plugin: str, names: set[str]) -> None:
    """It splits them at commas, so one specifier each; and a colon would end the key."""
    header = bundle.build(plugin).split('"""')[1]
    requirements = [
        requirement
        for line in header.splitlines()
        if line.startswith("requirements: ")
        for requirement in line.removeprefix("requirements: ").split(", ")
    ]
    assert all(requirement.count("=") in (1, 2) for requirement in requirements)
    assert {re.split("[~<>=]", requirement)[0] for requirement in requirements} == names
