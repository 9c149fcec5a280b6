"""The report of one run: all figures, as JSON, Markdown and a picture."""
