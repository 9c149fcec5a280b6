# The official image of the Pipelines server with our pipelines and what they require, so that nothing is downloaded
# when it starts. Build from the root of the checkout:
#   docker build -f deploy/pipelines.Dockerfile .
FROM ghcr.io/open-webui/pipelines:git-039f9c5

# Not all of dist/: the Pipelines server would run the plugins for Open WebUI itself as pipelines.
COPY dist/qwen3guard_filter.py dist/qwen3guard_models.py dist/qwen3guard_refusal.py /app/dist/
RUN sed -n 's/^requirements: //p' /app/dist/*.py | tr -d ' ' | tr ',' '\n' | sort -u \
  | xargs pip install --no-cache-dir

# A new volume gets the same owner.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp pipelines \
  && mkdir -p /app/pipelines && chown -R pipelines: /app/pipelines
USER pipelines

# All requirements are in the image: an upload that needs more fails at once, not after minutes of trying. Open WebUI keeps
# idle connections for 15 seconds; a server that closes them after five may do so just as one is used again.
ENV HOME=/tmp \
    PIPELINES_DIR=/app/pipelines \
    UVICORN_TIMEOUT_KEEP_ALIVE=75 \
    PIP_NO_INDEX=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
VOLUME /app/pipelines
EXPOSE 9099
# The image's pipelines replace older ones in the volume. A newer file there is an admin's upload, and stays; so do the
# valves, which are in folders next to the files.
ENTRYPOINT []
CMD ["sh", "-c", "cp --verbose --update --preserve=timestamps /app/dist/*.py \"$PIPELINES_DIR\" && exec python -m uvicorn main:app --host 0.0.0.0 --port 9099"]
