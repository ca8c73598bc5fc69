# The image of `onehop serve`; arguments go to `onehop`.
#   docker build -t onehop:0.1.0 .

FROM python:3.12-slim AS build
WORKDIR /src
# No pip inside the environment: it is what the image ships.
RUN python -m venv --without-pip /opt/onehop
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY epp epp
COPY semantic semantic
COPY benchmarks benchmarks
COPY protos protos
RUN pip --python /opt/onehop/bin/python install --no-cache-dir -c constraints.txt .

FROM python:3.12-slim
COPY --from=build /opt/onehop /opt/onehop
ENV PATH=/opt/onehop/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 9002 9003 9090
ENTRYPOINT ["onehop"]
