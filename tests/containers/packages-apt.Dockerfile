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
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update \
    && apt-get install --yes --no-install-recommends gcc libgomp1 libpq-dev

FROM tools AS packages
WORKDIR /build
# Every file is compared with its hash in the lock; what is downloaded stays in the build's cache.
COPY container-requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    uv venv /opt/venv \
    && uv pip install --python /opt/venv --require-hashes --no-deps -r /build/container-requirements.txt
# The libraries that run are those that the compiled files load, not the -dev packages that compiled them.
RUN (find /opt/venv -name '*.so*' -type f -exec ldd {} + > /tmp/needed 2>/dev/null || true) \
    && sed -n 's#^.*=> /\(usr/\)\{0,1\}\(lib/[^ ]*\) .*#*/\2#p' /tmp/needed > /tmp/files \
    && (xargs --no-run-if-empty dpkg-query --search < /tmp/files > /tmp/owners || true) \
    && cut --delimiter=: --fields=1 /tmp/owners > /opt/run-time-packages.txt \
    && sort --unique --output=/opt/run-time-packages.txt /opt/run-time-packages.txt

FROM python:3.12-slim-bookworm AS runtime
# Copied, not mounted: buildah and podman do not look into mounts, and would keep the layer of another list.
COPY --from=packages /opt/run-time-packages.txt /opt/
RUN apt-get update \
    && xargs apt-get install --yes --no-install-recommends libgomp1 < /opt/run-time-packages.txt \
    && rm -rf /var/lib/apt/lists/*
# Not root; by number below, so that Kubernetes can see it; with a home, where libraries keep their settings.
RUN groupadd --gid 1000 app \
    && SOURCE_DATE_EPOCH=315532800 useradd --uid 1000 --gid 1000 --create-home --no-log-init app
ENV PATH=/opt/venv/bin:$PATH \
# Without it, a process that is killed loses what it has printed.
    PYTHONUNBUFFERED=1
# At the path it was made for: the first lines of its programs name that path.
COPY --from=packages /opt/venv /opt/venv
# The sources come last, and are root's: the process cannot change them.
WORKDIR /app
COPY . ./
USER 1000:1000
LABEL org.opencontainers.image.title="hello-app" \
    org.opencontainers.image.version="1.2" \
    org.opencontainers.image.description="Says \"hello\" for \$5" \
    org.opencontainers.image.base.name="python:3.12-slim-bookworm"
CMD ["python"]
