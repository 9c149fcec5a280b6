"""The pages: what they name exists, their tables agree with the code, and all name one version of Open WebUI."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from moderation.notices.notice import LANGUAGES
from webui.guarded import host_version

ROOT = Path(__file__).parents[2]
REPORTS = {ROOT / "docs/eval" / guard / "report.md" for guard in ("demo", "demo-stream")}
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("guard_server/**/*.md")} - REPORTS)
PACKAGES = ("moderation", "webui", "pipelines", "functions", "guard_server", "training", "demo", "tools", "benchmarks")
# What is built in the checkout, and what only the wheel has.
NOT_FILES = (".venvs", ".run", "build")
IN_THE_WHEEL = ("guard_server/install_files/",)
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`([\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
# "Open WebUI 0.12.4", "open-webui==0.12.4", "open-webui:v0.12.4", "Open WebUI ... (0.12.4 is what the tests run)".
VERSION = re.compile(r"(?<![-\w])open[- ]webui(?!-pipelines)[^\d`]{0,70}?v?(\d+\.\d+\.\d+)(?!\.?\d)", re.IGNORECASE)
THE_TESTED = re.compile(r"\((\d+\.\d+\.\d+) is what the tests run\)|those of (\d+\.\d+\.\d+), known")
# Of the plugins for the Pipelines server, and of the Functions.
OLDEST = {"0.11.0", "0.11.2"}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def tracked() -> list[str]:
    """The files of the repository, as git lists them."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@cache
def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        assert not anchor or file.suffix != ".md" or anchor in headings(file), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    ours = {entry.name for entry in ROOT.iterdir()} - set(NOT_FILES)
    for path in PATH.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if path.partition("/")[0] in ours and path not in IN_THE_WHEEL:
            assert (ROOT / path).exists(), path


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 250


@pytest.mark.parametrize(
    "recipe",
    [
        "A notice language",
        "A valve",
        "An endpoint",
        "A category mapping",
        "A new Open WebUI version",
        "A metric",
        "A host",
        "An audit store",
        "The hold-back schedule",
        "Another guard model",
    ],
)
def test_a_likely_change_has_a_recipe_that_names_its_files(recipe: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    body = text.partition(f"\n### {recipe}\n")[2].partition("\n### ")[0]
    assert len([path for path in PATH.findall(body) if (ROOT / path).is_file()]) >= 3


def test_names_in_the_recipes_are_in_the_code() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    code = set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))
    # Classes, constants and private names: a plain word in code style may be anything.
    named = re.findall(r"`([A-Z_]\w+)(?:\.(?!md`)(\w+))?`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    assert {name for pair in named for name in pair if name} <= code


def layout() -> Iterator[tuple[str, str]]:
    text = (ROOT / "docs/development.md").read_text(encoding="utf-8").partition("\n## Layout\n")[2]
    yield from re.findall(r"^\| `([\w/]+/)` \|[^|]*\| (.*) \|$", text, re.MULTILINE)


def test_the_layout_names_every_folder_of_the_packages() -> None:
    folders = {
        f"{path.parent.relative_to(ROOT)}/" for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")
    }
    named = {folder for folder, _ in layout()}
    assert folders <= named
    assert all((ROOT / folder).is_dir() for folder in named)


def test_the_modules_to_start_with_exist() -> None:
    for folder, start in layout():
        for name in PATH.findall(start):
            assert (ROOT / folder / name).is_file() or (ROOT / name).is_file(), f"{folder}{name}"


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    records = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    numbers = [path.name[:3] for path in records]
    assert len(set(numbers)) == len(numbers)
    for record in records:
        number, title = re.findall(r"\A# (\d{3})\. (.+)\n", record.read_text(encoding="utf-8"))[0]
        assert record.name.startswith(f"{number}-")
        assert f"| [{number}]({record.name}) | {title} |" in index


# ---- docs/coverage.md and docs/functions.md: each row is held by tests ----

COVERAGE = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in ("docs/coverage.md", "docs/functions.md"))


def rows_with_tests() -> Iterator[tuple[str, str]]:
    """What a row is about and its last cell, of each table whose last column is "Test"."""
    in_table = False
    for line in COVERAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            in_table = False
        elif cells[-1].rstrip(" |") == "Test":
            in_table = True
        elif in_table and not line.startswith("|-"):
            yield cells[0], cells[-1].rstrip(" |")


@cache
def functions(folder: str) -> set[str]:
    files = (ROOT / "tests" / folder).glob("test_*.py")
    return {name for file in files for name in re.findall(r"def test_(\w+)\(", file.read_text(encoding="utf-8"))}


def is_a_test(folder: str, name: str) -> bool:
    """A file, a test, or with "…" at its end the beginning of a test's name."""
    if name.endswith("…"):
        return any(test.startswith(name[:-1]) for test in functions(folder))
    return name in functions(folder) or (ROOT / "tests" / folder / f"test_{name}.py").is_file()


@pytest.mark.parametrize(("row", "cell"), list(rows_with_tests()), ids=lambda text: text[:40])
def test_every_row_of_coverage_names_its_tests(row: str, cell: str) -> None:
    folder, named = "e2e", 0
    for prefix, name in re.findall(r"\b(unit|integration|dialects|e2e):|`([^`]+)`", cell):
        folder = prefix or folder
        if name:
            named += 1
            assert is_a_test(folder, name), f"{folder}: {name}"
    assert named or cell.startswith("not tested"), row


def test_coverage_names_every_gap() -> None:
    named = re.findall(r"`(gap_\w+)…?`", COVERAGE)
    for folder in ("unit", "dialects", "integration", "e2e"):
        for gap in (name for name in functions(folder) if name.startswith("gap_")):
            assert any(gap.startswith(name) for name in named), gap


def test_the_tests_in_the_text_of_coverage_exist() -> None:
    for sentence in re.findall(r"Tests?: (.+?)\.(?:\s|$)", COVERAGE, re.DOTALL):
        folder = "e2e"
        for prefix, name in re.findall(r"\b(unit|integration|in a browser):?|`([^`]+)`", sentence):
            folder = {"in a browser": "e2e"}.get(prefix, prefix) or folder
            assert not name or is_a_test(folder, name), f"{folder}: {name}"


# ---- what is said in several places ----


def version_of_compose() -> str:
    """The one source: the image in docker-compose.yml."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return str(services["open-webui"]["image"].rpartition(":v")[2])


def test_one_version_of_open_webui_is_named_everywhere() -> None:
    places: dict[str, set[str]] = {}
    for name in tracked():
        if name.startswith(("dist/", "docs/eval/", "docs/decisions/")) or name in (
            "CHANGELOG.md",
            "tests/unit/test_docs.py",
        ):
            continue
        if Path(name).suffix not in (".md", ".py", ".yml", ".toml", ".txt", ".lock", ""):
            continue
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace").replace("\n# ", " ")
        # A package and its version are two lines of uv's lock.
        text = re.sub(r'name = "open-webui"\nversion = "', "open-webui==", text)
        found = {*VERSION.findall(text), *(one or other for one, other in THE_TESTED.findall(text))}
        if found:
            places[name] = found
    assert {"README.md", "docker-compose.yml", "docs/admin-guide.md", "docs/coverage.md"} <= places.keys()
    wrong = {name: found for name, found in places.items() if not found <= {version_of_compose(), *OLDEST}}
    assert wrong == {}


def test_the_tested_version_takes_back_what_was_shown() -> None:
    major, minor, _ = map(int, version_of_compose().split("."))
    assert (major, minor) in host_version._RETRACTING
    guide = (ROOT / "docs/guarded-models.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\b0\.1\d\b", guide)) == {f"{major}.{minor}"}


@pytest.mark.parametrize("page", ["docs/admin-guide.md", "CHANGELOG.md"])
def test_the_number_of_languages_is_right(page: str) -> None:
    assert re.findall(r"(\d+) languages", (ROOT / page).read_text(encoding="utf-8")) == [str(len(LANGUAGES))]
