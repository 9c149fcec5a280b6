"""An Open WebUI, as its admin sees it over HTTP. Knows neither what we install there nor what we check."""
