# The gateway with its store inside: one process to run, one volume to keep.
#
#   docker build -t gateway .
#   docker run --read-only --tmpfs /tmp -v gateway-data:/data -v "$PWD/config":/config:ro -p 8080:8080 gateway
#
# /config holds gateway.toml (listen = "0.0.0.0:8080", url = "embedded:/data/store", spool = "/data/spool") and the files its
# secrets refer to.

FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements-run.txt pyproject.toml README.md ./
RUN python -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r requirements-run.txt
COPY schemas schemas
COPY adapters adapters
COPY gateway gateway
RUN /opt/gateway/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
# A number, so that a platform that insists on a user other than root can see that it is one.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin gateway \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/gateway /opt/gateway
USER 10001
ENV PATH=/opt/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /config
VOLUME /data
EXPOSE 8080
# Ready means: a POST would be answered 200.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/config/gateway.toml"]
