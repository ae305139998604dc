# Entry for people and CI. The first call makes .venv from uv.lock; only Python >= 3.11 and make are needed.
PYTHON ?= python3
BIN    := .venv/bin
PY     := $(BIN)/python
PYTEST := $(BIN)/pytest
SETUP  := .venv/.synced
PIN    := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --only-binary :all:

MEASUREMENTS ?= $(wildcard tests/accuracy/data/*.csv)
PORT         ?= 8000
SCALE        ?= 1000
MINUTES      ?= 30
RUNS         ?= 5
SEED         ?= $(shell date +%s)
K8S          ?=
CLUSTERS     ?= $(if $(GUIDE_E2E_KUBECONFIG),0,2)
OLDEST       ?= 1.32
QUICK         = catalog cluster frameworks manifests models perf report spec
IMAGE        ?= guide-operator
VERSION       = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' guide/__init__.py)
RELEASED      = $(REGISTRY)/guide-operator:$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help demo test check quick flaky coverage fix golden generate kernels calibrate reproduce accuracy paper decisions bench counts screenshots panels figures pins dist image publish e2e e2e-oldest e2e-node node smoke scale chaos soak serve clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(SETUP) ## recommend for a real model on a sample cluster, no cluster needed
	@$(BIN)/guide plan -f examples/chat.yaml --nodes examples/nodes.yaml

test: check e2e e2e-oldest ## everything CI runs: static gates, fast tests, tests on a real API server

check: $(SETUP) ## static gates and fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/vulture
	$(PYTEST) -n auto -m "not e2e and not node and not scale"

quick: $(SETUP) ## lint, and the tests of rooms that read, check, render and report: while you work
	$(BIN)/ruff check .
	$(PYTEST) -n auto tests/architecture $(QUICK:%=tests/unit/%) -m "not e2e and not node and not scale"

flaky: $(SETUP) ## the fast tests RUNS times, each time in another order; TESTS=tests/unit/perf SEED=1
	@failed=; for run in $$(seq $(RUNS)); do seed=$$(($(SEED) + run)); \
	  echo "order $$run of $(RUNS): -p randomly --randomly-seed=$$seed"; \
	  $(PYTEST) -q -n auto -m "not e2e and not node and not scale" -p randomly -p no:cacheprovider \
	    --randomly-seed=$$seed $(TESTS) || failed="$$failed $$seed"; done; \
	test -z "$$failed" || { echo "make flaky: failed in the orders of seed$$failed" >&2; exit 1; }

coverage: $(SETUP) ## lines of the product that the fast tests run, those that they miss by file
	$(PYTEST) -n auto -m "not e2e and not node and not scale" --cov=guide --cov=guide_operator \
	  --cov-report=term-missing:skip-covered

fix: $(SETUP) ## format and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(SETUP) ## rewrite the golden files; review the diff
	GUIDE_UPDATE_GOLDEN=1 $(PYTEST) tests/golden

generate: $(SETUP) ## rewrite generated files (CRD, chart, reference, dashboards, rules)
	$(PY) -m hack.crd
	$(PY) -m hack.reference
	$(PY) -m hack.values
	$(PY) -m hack.dashboards

pins: $(SETUP) ## renew hack/*-requirements.txt, with hashes: uv, the build backend, what compiles the event loop
	printf 'hatchling\nuv\n' | $(PIN) - -o hack/build-requirements.txt
	printf 'mypy[mypyc]\nsetuptools\n' | $(PIN) -c hack/build-requirements.txt - -o hack/compile-requirements.txt

dist: $(SETUP) ## everything that a release consists of, into dist/; HOMEPAGE=URL adds the krew manifest
	$(PY) -m hack.dist $(if $(HOMEPAGE),--home $(HOMEPAGE))

image: ## the operator's image as IMAGE, by docker or else buildah; BASE=python:3.13-slim@sha256:... BUILDER=python:3.13@...
	@command -v docker >/dev/null || command -v buildah >/dev/null || \
	  { echo "make image: please install docker or buildah" >&2; exit 1; }
	$$(command -v docker || command -v buildah) build -t $(IMAGE) -f hack/Dockerfile $(if $(BASE),--build-arg PYTHON=$(BASE)) $(if $(BUILDER),--build-arg BUILDER=$(BUILDER)) .

publish: $(SETUP) ## what `make dist` made and the image, to PyPI, REGISTRY and a release; run by the hosted workflow
	@test -n "$(REGISTRY)" || { echo "make publish: name the registry with REGISTRY=host/path" >&2; exit 1; }
	@test -f dist/SHA256SUMS || { echo "make publish: run make dist first" >&2; exit 1; }
	cd dist && sha256sum --check --quiet SHA256SUMS
	$(MAKE) image IMAGE=$(RELEASED)
	docker push $(RELEASED)
	cosign sign --yes "$$(docker inspect --format '{{index .RepoDigests 0}}' $(RELEASED))"
	helm push dist/guide-$(VERSION).tgz oci://$(REGISTRY)/charts
	$(BIN)/uv publish --trusted-publishing always dist/guide_advisor-*
	gh release create v$(VERSION) --verify-tag --notes-from-tag dist/*

kernels: $(SETUP) ## refit guide/catalog/kernels from measured kernels (an 80 MB wheel)
	$(BIN)/uv run --quiet --isolated --all-extras --group kernels python -m hack.kernels

calibrate: $(SETUP) ## refit calibration.yaml from MEASUREMENTS, over the kernels of `make kernels`
	$(BIN)/guide calibrate --from-scratch $(MEASUREMENTS) --out guide/catalog/calibration.yaml

reproduce: $(SETUP) ## prove that calibrate gives the shipped fits, byte for byte (a quarter of an hour)
	@mkdir -p .run
	$(BIN)/guide calibrate --from-scratch $(MEASUREMENTS) --out .run/calibration.yaml
	cmp .run/calibration.yaml guide/catalog/calibration.yaml

accuracy: $(SETUP) ## errors against measured rows: docs/accuracy.md; EXTRA=CSV, ACCEPT=--accept
	$(PY) -m hack.accuracy $(MEASUREMENTS) $(if $(EXTRA),--extra $(EXTRA)) $(ACCEPT)
	$(PY) -m hack.figures stamp accuracy

paper: $(SETUP) ## the evaluation and figures of the paper, into docs/paper
	$(PY) -m hack.paper
	$(PY) -m hack.figures stamp paper

decisions: $(SETUP) ## forty realistic questions with their answers: docs/decisions.md
	$(PY) -m hack.decisions
	$(PY) -m hack.figures stamp decisions

bench: $(SETUP) ## speed and memory: docs/benchmarks.md; PEER=aiconfigurator GENZ=PYTHON CLUSTER=KUBECONFIG
	$(PY) -m hack.bench $(if $(PEER),--peer $(PEER)) $(if $(GENZ),--genz $(GENZ)) \
	  $(if $(CLUSTER),--cluster $(CLUSTER))
	$(PY) -m hack.figures stamp bench

counts: $(SETUP) ## accept how much work README's plan is today: hack/bench/work.yaml
	$(PY) -m hack.bench.work --accept

screenshots: $(SETUP) ## pictures of the web page and of the stories, into docs/img (Chromium)
	$(PY) -m hack.screenshots
	$(PY) -m hack.figures stamp screenshots

panels: $(SETUP) ## pictures of the dashboards and of what is learnt, into docs/img (Prometheus)
	GUIDE_PANEL_PICTURES=docs/img GUIDE_LEARNING_PICTURE=docs/img/learning.svg \
	  $(PYTEST) tests/e2e/test_observe.py -k "bias or drawn"
	$(PY) -m hack.figures stamp panels

figures: $(SETUP) ## rebuild every page of figures that is older than its inputs; ALL=1: all of them
	@for figure in $$($(PY) -m hack.figures stale $(if $(ALL),--all)); do $(MAKE) $$figure || exit; done

e2e: $(SETUP) ## tests on CLUSTERS real API servers side by side (or on GUIDE_E2E_KUBECONFIG); K8S=1.32: of that version
	$(if $(GUIDE_E2E_KUBECONFIG),,-GUIDE_K8S=$(K8S) $(PY) -m hack.controlplane build)
	GUIDE_K8S=$(K8S) GUIDE_SCALE_OBJECTS=100 $(PYTEST) -rs -n $(CLUSTERS) --dist loadfile tests/e2e

e2e-oldest: $(SETUP) ## whether the oldest Kubernetes takes plans and their definition; all of e2e: K8S=1.32
	GUIDE_K8S=$(OLDEST) $(PYTEST) -rs tests/e2e/test_crd.py

node: $(SETUP) ## build what a real node needs, start one in .run/node, say how to reach it
	$(PY) -m hack.node up

smoke: $(SETUP) ## the shortest of them: the chart's operator and one plan in real pods
	$(PYTEST) -rs tests/e2e_node/test_smoke.py

e2e-node: $(SETUP) ## tests with real containers on a real node (root, Linux)
	$(PYTEST) -rs tests/e2e_node

scale: $(SETUP) ## the scale cases with SCALE objects
	GUIDE_SCALE_OBJECTS=$(SCALE) GUIDE_ETCD_PAUSE_S=60 GUIDE_HOSTILE_PLANS=2000 $(PYTEST) tests/e2e -m scale
	GUIDE_HOSTILE_PLANS=2000 $(PYTEST) tests/unit/test_hostile_plans.py
	GUIDE_METAMORPHIC_PLANS=2000 $(PYTEST) -n auto tests/property/test_metamorphic.py
	$(PYTEST) -n auto --hypothesis-profile=explore tests/property tests/unit

chaos: $(SETUP) ## everything that goes wrong at once, for MINUTES
	GUIDE_CHAOS_MINUTES=$(MINUTES) $(PYTEST) -s tests/e2e/test_chaos.py

soak: $(SETUP) ## hours of edits and node changes against the operator
	$(PY) -m hack.soak

serve: $(SETUP) ## the web page on PORT
	$(BIN)/guide serve --port $(PORT)

clean: ## remove the environment and caches of this clone
	rm -rf .venv .run out dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find guide operator tests hack -name __pycache__ -type d -prune -exec rm -rf {} +

$(SETUP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "GUIDE needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --require-hashes -r hack/build-requirements.txt; }
	$(BIN)/uv sync --quiet --locked --all-extras
	@touch $@
