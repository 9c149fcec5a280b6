"""The demo of `make run` and `make try`: a scripted chat model, the stack of servers, and the setup of Open WebUI."""
