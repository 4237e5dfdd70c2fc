FROM python:3.12-slim-bookworm AS tools
# Poetry has an environment of its own, apart from what it installs; none of it is in the image.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python3 -m venv /opt/poetry \
    && /opt/poetry/bin/pip install --disable-pip-version-check poetry==2.5.1
# By content, not by time: the same packages are the same bytes in every build.
ENV SOURCE_DATE_EPOCH=315532800

FROM tools AS packages
WORKDIR /build
# Poetry fills the environment that is active, so that it is made at the path where it stays.
COPY pyproject.toml poetry.lock ./
RUN --mount=type=cache,target=/root/.cache/pypoetry \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python3 -m venv --without-pip /opt/venv \
    && VIRTUAL_ENV=/opt/venv /opt/poetry/bin/poetry sync --no-interaction --only main --no-root --compile

# A change of the sources begins here: the packages above stay as they are.
FROM tools AS project
WORKDIR /src
COPY . ./
RUN /opt/poetry/bin/poetry build --no-interaction --format wheel --output /wheels --directory . \
    && sha256sum /wheels/*.whl > /wheels.sha256

FROM python:3.12-slim-bookworm AS runtime
# Not root; by number below, so that Kubernetes can see it; with a home, where libraries keep their settings.
RUN groupadd --gid 1000 app \
    && SOURCE_DATE_EPOCH=315532800 useradd --uid 1000 --gid 1000 --create-home --no-log-init app
ENV PATH=/opt/venv/bin:$PATH \
# Without it, a process that is killed loses what it has printed.
    PYTHONUNBUFFERED=1
WORKDIR /home/app
# At the path it was made for: the first lines of its programs name that path.
COPY --from=packages /opt/venv /opt/venv
# A change of the wheels changes this file: buildah and podman do not look into what is mounted below.
COPY --from=project /wheels.sha256 /opt/
# pip itself writes no bytecode of the standard library into this layer: it holds the project's files alone.
RUN --mount=type=bind,from=project,source=/wheels,target=/wheels \
    PYTHONDONTWRITEBYTECODE=1 SOURCE_DATE_EPOCH=315532800 \
    pip --python /opt/venv/bin/python install --compile --disable-pip-version-check --root-user-action=ignore --no-cache-dir --no-deps --no-index --find-links /wheels hello-app
USER 1000:1000
LABEL org.opencontainers.image.title="hello-app" \
    org.opencontainers.image.version="1.2" \
    org.opencontainers.image.description="Says \"hello\" for \$5" \
    org.opencontainers.image.base.name="python:3.12-slim-bookworm"
ENTRYPOINT ["hello"]
