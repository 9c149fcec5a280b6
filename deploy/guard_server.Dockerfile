# vLLM's official image with this project's guard server. Build from the root of the checkout:
#   docker build -f deploy/guard_server.Dockerfile --build-arg BASE=vllm/vllm-openai:v0.32.0 .
ARG BASE=vllm/vllm-openai:v0.32.0
FROM ${BASE}

# vLLM has everything that `serve` imports, except ModelScope's client in some images.
ARG HUB=huggingface
RUN if [ "$HUB" = modelscope ] && ! python3 -c "import modelscope"; then \
      uv pip install --python "$(command -v python3)" modelscope; \
    fi

WORKDIR /guard
COPY pyproject.toml README.md LICENSE ./
COPY moderation/ moderation/
COPY guard_server/ guard_server/
# vLLM finds plugins in installed packages.
RUN uv pip install --python "$(command -v python3)" --no-deps --editable .

# Two folders: the model's files, which only `download` writes, and what vLLM and its libraries keep between two starts
# (compiled kernels). New volumes get the same owner.
RUN useradd --uid 10001 --no-create-home --home-dir /cache guard \
  && mkdir -p /models /cache && chown guard: /models /cache
ENV HOME=/cache \
    HF_HOME=/models/huggingface \
    MODELSCOPE_CACHE=/models/modelscope
USER guard
VOLUME ["/models", "/cache"]

EXPOSE 8000
ENTRYPOINT ["python3", "-m", "guard_server"]
CMD ["serve", "--host=0.0.0.0"]
