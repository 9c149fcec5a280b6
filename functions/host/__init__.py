"""What the Functions ask of Open WebUI itself. Nothing of it is imported before it is asked for."""
