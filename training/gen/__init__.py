"""The demo guard (Gen): its training data, network and trainer. A demonstration, not for production."""
