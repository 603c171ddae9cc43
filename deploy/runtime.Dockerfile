# Webserver, daemon and code location: no torch. From the project's root: docker build -f deploy/runtime.Dockerfile -t cosmos-ops-runtime .
FROM python:3.11-slim AS packages
WORKDIR /build
COPY pyproject.toml requirements.lock ./
COPY deploy/requirements.py deploy/requirements.py
RUN python -m venv /opt/venv \
    && python deploy/requirements.py runtime > wanted.txt \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r wanted.txt -c requirements.lock

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home cosmos && mkdir -p /opt/dagster/dagster_home /cosmos && chown cosmos /opt/dagster/dagster_home /cosmos
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/cosmos-ops
COPY pyproject.toml dagster.yaml workspace.yaml ./
COPY deploy deploy
COPY cosmos_ops cosmos_ops
COPY assets assets
COPY pipelines pipelines
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/cosmos-ops PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 COSMOS_HOME=/cosmos DAGSTER_DISABLE_TELEMETRY=true
USER 10001:10001
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "3030", "-m", "pipelines.definitions"]
