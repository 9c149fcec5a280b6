"""The servers whose models are guarded, asked over HTTP."""
