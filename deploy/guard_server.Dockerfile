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

# Writable for any user that the image runs as; a new volume gets the same rights.
RUN mkdir -p /models && chmod 1777 /models
ENV HF_HOME=/models/huggingface \
    MODELSCOPE_CACHE=/models/modelscope \
    VLLM_CACHE_ROOT=/models/vllm
VOLUME /models

EXPOSE 8000
ENTRYPOINT ["python3", "-m", "guard_server"]
CMD ["serve", "--host=0.0.0.0"]
