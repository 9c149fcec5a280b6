"""The readings of a text: as its reader sees it, and with obfuscation undone."""
