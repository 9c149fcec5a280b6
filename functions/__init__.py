"""Open WebUI's own process as a host: two Functions that an admin pastes, and what they ask of Open WebUI."""
