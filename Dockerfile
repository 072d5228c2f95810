# ATSO-Bench for a GPU host with nvidia-container-toolkit (torch's wheels bring CUDA along; the driver comes from the host):
#   docker build -t atso-bench .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD/data:/data:ro" -v "$PWD/results:/results" atso-bench \
#     run --method atso --fraction 10
# For a build to repeat exactly, give the base by digest: --build-arg BASE_IMAGE=python@sha256:...
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

ENV PATH=/opt/atso/bin:$PATH \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy
RUN python3 -m venv /opt/atso && /opt/atso/bin/pip install --no-cache-dir uv==0.13.9

# The dependencies first, so that a change of code reuses this layer. As a constraint the lock gives version and hash
# of each package needed, and of no other: its development tools stay out, and a package not in it is refused.
WORKDIR /usr/src/atso-bench
COPY pyproject.toml requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/atso --require-hashes --constraint requirements.lock -r pyproject.toml

# The links in src/atso_bench are followed: the installed package holds the files themselves.
COPY . ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/atso --no-deps --build-constraint requirements.lock . \
    && mkdir -m 1777 /results && mkdir /data

# Any --user works, and --read-only with a --tmpfs /tmp: what is written goes to /results and /tmp.
# LOGNAME stands in for a line in /etc/passwd, which torch asks for.
ENV PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    ATSO_BENCH_DATA=/data \
    ATSO_BENCH_OUT=/results \
    ATSO_BENCH_CACHE=/results/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HUB_OFFLINE=1 \
    HOME=/tmp/home \
    LOGNAME=atso \
    MPLCONFIGDIR=/tmp/mpl
USER 10001:10001
WORKDIR /results
ENTRYPOINT ["atso-bench"]
CMD ["--help"]
