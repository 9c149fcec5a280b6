"""What `make run` and `make try` add: a scripted chat model, the stack of servers, its set-up through Open WebUI."""
