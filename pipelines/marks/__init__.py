"""What our plugins in one Pipelines server tell each other inside a request, signed."""
