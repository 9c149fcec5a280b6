"""The log of all plugins: the Pipelines server prints it."""

import logging

log = logging.getLogger("qwen3guard")
