"""A client of Open WebUI's HTTP API, for the admin and for users."""
