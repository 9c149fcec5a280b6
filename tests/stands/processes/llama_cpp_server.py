"""llama.cpp's own HTTP server on loopback: `python llama_cpp_server.py MODEL.gguf PORT CONTEXT`, in its environment."""

import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
params.hostnames, params.use_jinja, params.n_parallel = ["127.0.0.1"], True, 1
server = xllamacpp.Server(params)
print(f"listening at {server.listening_address}", flush=True)
threading.Event().wait()
