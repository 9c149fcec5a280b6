"""The version of the whole project: pyproject.toml, the commands and the plugins in dist/ read it here."""

VERSION = "0.1.0"
