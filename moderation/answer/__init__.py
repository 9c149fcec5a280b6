"""A streamed answer: its texts, how much of them the reader may see already, and when the guard checks it."""
