# The image of `onehop serve`, with the classifier's model; arguments go to `onehop`.
#
#   docker build -t onehop:0.1.0 .
#
# To build the same image again, pin the base by its digest: DIGEST is empty, or `@sha256:` and 64 digits.
#
#   digest=$(docker buildx imagetools inspect python:3.12-slim --format '{{.Manifest.Digest}}')
#   docker build -t onehop:0.1.0 --build-arg DIGEST=@$digest .
#
# Python packages are pinned by constraints.txt. No image has been built by our tests, which have no Docker engine:
# helm/image_size.py installs what this file installs and says how large it is.
ARG BASE=python:3.12-slim
ARG DIGEST=

FROM ${BASE}${DIGEST} AS build
WORKDIR /src
# No pip inside the environment: it is what the image ships.
RUN python -m venv --without-pip /opt/onehop
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY epp epp
COPY semantic semantic
COPY benchmarks benchmarks
COPY protos protos
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
RUN pip --python /opt/onehop/bin/python install --no-cache-dir --disable-pip-version-check ".[otel]"
# Fails the build, not the first start, when something is missing.
RUN /opt/onehop/bin/onehop --help > /dev/null && ls /opt/onehop/lib/python3*/site-packages/semantic/models

FROM ${BASE}${DIGEST}
# Nothing that installs: the base brings pip.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && rm -rf /usr/local/lib/python3*/ensurepip /usr/local/bin/pip*
COPY --from=build /opt/onehop /opt/onehop
ENV PATH=/opt/onehop/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 9002 9003 9090
ENTRYPOINT ["onehop"]
