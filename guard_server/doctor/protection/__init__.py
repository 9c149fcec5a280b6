"""`doctor --webui`: whether the users of an Open WebUI are protected, found out by asking as one of them."""
