# Build stage: compiler and headers stay behind here.
FROM python:3.11-slim-bookworm AS build
# Versions are not pinned: Debian drops old ones from its mirrors.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libnghttp2-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m venv /opt/quotelife \
    && /opt/quotelife/bin/python -m pip install --no-cache-dir ./clients/python ".[server]"

FROM python:3.11-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libnghttp2-14 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/quotelife --create-home quotelife
COPY --from=build /opt/quotelife /opt/quotelife
COPY configs/default /etc/quotelife
ENV PATH=/opt/quotelife/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/quotelife
EXPOSE 50051 9151
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["quotelife", "doctor", "--target", "127.0.0.1:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["quotelife"]
CMD ["serve", "--config", "/etc/quotelife", "--address", "0.0.0.0:50051", "--metrics-address", "0.0.0.0:9151"]
