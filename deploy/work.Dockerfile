# Steps and training, on CPUs and NVIDIA GPUs: the locked torch wheels bring CUDA. From the project's root: docker build -f deploy/work.Dockerfile -t cosmos-ops-work .
FROM python:3.11-slim AS packages
WORKDIR /build
COPY pyproject.toml requirements.lock ./
COPY deploy/requirements.py deploy/requirements.py
RUN python -m venv /opt/venv \
    && python deploy/requirements.py work > wanted.txt \
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
# What NVIDIA's container runtime mounts into the container.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/cosmos-ops PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 COSMOS_HOME=/cosmos DAGSTER_DISABLE_TELEMETRY=true
USER 10001:10001
CMD ["python", "-m", "pipelines", "doctor"]
