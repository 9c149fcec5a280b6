"""Marks tests by their folder."""

from pathlib import Path

import pytest

_FOLDERS = ("integration", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder in _FOLDERS:
            if folder in Path(item.path).parts:
                item.add_marker(folder)
