"""What a plugin needs of the Pipelines server: an event loop, threads, places, and answers that it can read."""
