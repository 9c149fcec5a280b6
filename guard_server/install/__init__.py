"""Sets an Open WebUI up, upgrades it, and puts back what was changed. See docs/install.md."""
