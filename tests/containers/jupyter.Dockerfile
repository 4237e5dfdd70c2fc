FROM python:3.12-slim-bookworm AS tools
# Compilers and installers live in this stage and those on top of it: none of them is in the image.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    pip install --disable-pip-version-check --root-user-action=ignore uv==0.13.8
# A user who is not root can never write bytecode into the environment: it is made once, here.
ENV UV_COMPILE_BYTECODE=1 \
# By content, not by time: the same packages are the same bytes in every build.
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
# The cache is another file system, so nothing can be linked from it.
    UV_LINK_MODE=copy \
# The Python of the image counts, whatever .python-version says.
    UV_PYTHON=python3 \
    UV_PYTHON_DOWNLOADS=never

# JupyterLab is apart from the project: neither decides about the other's versions.
FROM tools AS server
WORKDIR /build
COPY container-jupyter.txt ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    uv venv /opt/jupyter \
    && uv pip install --python /opt/jupyter --require-hashes --no-deps -r container-jupyter.txt \
    && rm -r /opt/jupyter/share/jupyter/kernels
# Colab's page may use this server as a local runtime: its origin, with the token, from a public address.
RUN mkdir -p /opt/jupyter/etc/jupyter \
    && printf '%s\n' '{"ServerApp": {"allow_origin": "https://colab.research.google.com", "allow_credentials": true, "tornado_settings": {"headers": {"Access-Control-Allow-Private-Network": "true"}}}, "KernelSpecManager": {"ensure_native_kernel": false}}' > /opt/jupyter/etc/jupyter/jupyter_server_config.json

# What the last stage installs from: of this, only the checksums are copied.
FROM tools AS packages
WORKDIR /build
COPY pyproject.toml uv.lock ./
COPY container-kernel.txt ./
RUN find /build -type f -exec sha256sum {} + > /packages.sha256 \
    && sort --output=/packages.sha256 /packages.sha256

# A change of the sources begins here: the packages above stay as they are.
FROM tools AS project
WORKDIR /src
COPY . ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    uv build --wheel --out-dir /wheels . \
    && sha256sum /wheels/*.whl > /wheels.sha256

FROM python:3.12-slim-bookworm AS runtime
# Not root; by number below, so that Kubernetes can see it; with a home, where libraries keep their settings.
RUN groupadd --gid 1000 app \
    && SOURCE_DATE_EPOCH=315532800 useradd --uid 1000 --gid 1000 --create-home --no-log-init app
ENV PATH=/opt/venv/bin:$PATH \
# Without it, a process that is killed loses what it has printed.
    PYTHONUNBUFFERED=1
COPY --from=server /opt/jupyter /opt/jupyter
# Other packages change this file: buildah and podman do not look into what is mounted below.
COPY --from=packages /packages.sha256 /opt/
# uv.lock has a hash for every file; what is downloaded stays in the build's cache.
# What a kernel needs and the lock file does not have is beside the environment, not in it.
# The installer is mounted, not copied, and writes no bytecode of the standard library into this layer.
RUN --mount=type=bind,from=packages,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=packages,source=/build,target=/build \
    --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    export PYTHONDONTWRITEBYTECODE=1 UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_LINK_MODE=copy UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never \
    && UV_PROJECT_ENVIRONMENT=/opt/venv uv sync --project /build --frozen --no-default-groups --no-install-project --no-install-workspace --no-install-local \
    && uv pip install --python /opt/venv --target /opt/kernel --require-hashes --no-deps -r /build/container-kernel.txt \
    && PYTHONPATH=/opt/kernel /opt/venv/bin/python -m ipykernel install --prefix /opt/jupyter --name py312 --display-name 'Python 3.12 (hello-app)' --env PYTHONPATH /opt/kernel
# A change of the wheels changes this file: buildah and podman do not look into what is mounted below.
COPY --from=project /wheels.sha256 /opt/
# The installer is mounted, not copied, and writes no bytecode of the standard library into this layer.
# uv notes when it saw the wheel: without that note, the same sources are the same bytes in every build.
RUN --mount=type=bind,from=project,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=project,source=/wheels,target=/wheels \
    PYTHONDONTWRITEBYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    uv pip install --python /opt/venv --compile-bytecode --no-cache --no-deps --no-index --find-links /wheels hello-app \
    && find /opt/venv -name uv_cache.json -execdir sed -i /uv_cache.json/d RECORD ';' -delete
# Notebooks are saved where they stand, so they belong to the user.
WORKDIR /work
COPY --chown=1000:1000 . ./
USER 1000:1000
LABEL org.opencontainers.image.title="hello-app" \
    org.opencontainers.image.version="1.2" \
    org.opencontainers.image.description="Says \"hello\" for \$5" \
    org.opencontainers.image.base.name="python:3.12-slim-bookworm"
EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["/opt/jupyter/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8888/api', timeout=3)"]
# The token is made at the start and printed, or taken from JUPYTER_TOKEN; it is never empty.
CMD ["/opt/jupyter/bin/jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--ServerApp.port_retries=0"]
