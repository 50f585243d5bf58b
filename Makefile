# Every target sets up what it needs by itself (deploy/dev/setup: packages, .venv from the hashed lock).
# `make demo` runs the main job; `make test` passes the tests. See CONTRIBUTING.md.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
# Test files at a time: tests of one file share servers and sandboxes. PROCESSES=0 runs them in one process.
PROCESSES ?= 2

.PHONY: e2e-maven e2e-requirements hostile hostile-cgroup2 help setup auditor demo demo-negative test coverage test-wheel e2e e2e-docker pages torture torture-short rebuild-sample e2e-conan conformance bench fuzz exhaustive lint fmt lock full clean proto e2e-peers bench-peers bench-log conformance-full e2e-trillian bench-builder

help:           ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | column -t -s '	'

setup:          ## packages and .venv; does nothing when all is there
	@deploy/dev/setup

auditor:
	@deploy/dev/setup auditor

demo: auditor   ## the main job, end to end, on a real package: ends with "demo: ok"
	@$(PYTHON) -m tests.e2e.demo

demo-negative: auditor  ## the same script, sabotaged in four ways; each must end "demo: FAILED" at the right step
	@$(PYTHON) -m tests.e2e.demo_negative

test: setup     ## unit and integration tests with real parts, minutes
	$(PYTHON) -m pytest -q -m 'not slow and not wheel' -n $(PROCESSES) --dist loadfile

coverage: setup ## the same tests with branch coverage, also of what is never imported
	$(PYTHON) -m coverage run -m pytest -q -m 'not slow and not wheel'
	$(PYTHON) -m coverage combine -q
	$(PYTHON) -m coverage report

test-wheel: auditor  ## the auditors' tests against the installed wheel without extras
	build/auditor/test-venv/bin/python -m pytest -q -o pythonpath=. tests/verify tests/wheel

e2e: e2e-maven e2e-conan e2e-docker  ## real rebuilds of all three ecosystems, logged and verified offline

e2e-maven: setup  ## real releases rebuilt with inferred definitions: the table of results
	$(PYTHON) -m tests.e2e.rebuilds
	$(PYTHON) -m tests.e2e.asked

e2e-peers: setup  ## four peers of one log: quorum, kills, lies, twins, real rebuilds (builds CometBFT once; needs go)
	$(PYTHON) -m pytest -q tests/e2e/peers

e2e-trillian: auditor  ## the demo with its log in a real Trillian (builds it once; needs go), killed in between: ends "e2e-trillian: ok"
	@$(PYTHON) -m tests.e2e.trillian

e2e-docker:     ## images through touchplate: skopeo, podman, Docker, containerd; a minute
	@deploy/dev/setup images
	$(PYTHON) -m tests.e2e.docker
	$(PYTHON) -m tests.e2e.apt_image

e2e-conan:      ## packages through touchplate, lz4 rebuilt: a stock conan_server and client; two minutes
	@deploy/dev/setup conan
	$(PYTHON) -m tests.e2e.conan

e2e-requirements:  ## Conan packages with requirements, varied, in gVisor, from another host's lock, on full disks; minutes
	@deploy/dev/setup dev
	@deploy/dev/setup conan
	$(PYTHON) -m pytest -q -m slow tests/builder/test_conan_requirements_elsewhere.py

pages:          ## every page looked at in a browser (needs chromium); pictures in build/pages
	@deploy/dev/setup browser
	$(PYTHON) -m tests.e2e.pages

rebuild-sample: setup  ## more releases of more projects, Conan packages and images; each difference explained by a control build
	@deploy/dev/setup conan
	@deploy/dev/setup images
	$(PYTHON) -m tests.e2e.sample
	$(PYTHON) -m tests.e2e.roots

hostile: setup  ## 70 and more attacks by hostile builds on bubblewrap, runc and gVisor, each with its control: the list of what was contained
	$(PYTHON) -m tests.hostile

hostile-cgroup2:  ## the shipped units under a real systemd, and the sandboxes' limits where control groups are of version 2 only, in an emulated machine (needs qemu): ends "hostile-cgroup2: ok"
	@deploy/dev/setup machine
	@$(PYTHON) -m tests.cgroup2

conformance: setup  ## foreign verifiers, readers and a witness on our logs and bundles (needs go); on the demo's too when it has run
	$(PYTHON) -m pytest -q -m 'not long' tests/conformance
	@if [ -e evidence.json ]; then $(PYTHON) -m tests.conformance.sigstore_demo evidence.json; fi
	@if [ -e evidence.json ]; then $(PYTHON) -m tests.conformance.log_demo evidence.json; fi

conformance-full: setup  ## what takes foreign programs minutes: Trillian's mdmtest on our Trillian interface, loadtest on our witness, a log in a bucket of versitygw (needs go)
	$(PYTHON) -m pytest -q -m long tests/conformance

torture: setup  ## kills at every durable step of every store (ROUNDS=3), 1,200 of a log under load, system calls that fail; an hour
	@$(PYTHON) -m tests.torture --rounds $(or $(ROUNDS),3)
	@$(PYTHON) -m tests.torture.faults --each 12
	@$(PYTHON) -m tests.torture.kills --sqlite 1000 --raw 100 --postgresql 100
	@$(PYTHON) -m tests.torture.jobs --sqlite 200 --postgresql 100 --clocks 51

torture-short: setup  ## the same with each point once, minutes
	@$(PYTHON) -m tests.torture --rounds 1
	@$(PYTHON) -m tests.torture.faults --each 1
	@$(PYTHON) -m tests.torture.kills --short
	@$(PYTHON) -m tests.torture.jobs --sqlite 20

bench: auditor  ## measurements beside their goals and peers; ONLY=gate (or several names) runs a part
	@deploy/dev/setup postgresql
	$(PYTHON) -m tests.bench $(ONLY)

bench-log: setup  ## the log beside Trillian and Tessera, in turns (builds them once; needs go); ONLY="queue http" runs a part, LONG=1 the long forms
	$(PYTHON) -m tests.bench.log $(if $(LONG),--long) $(ONLY)

bench-builder: setup  ## sandbox start, builds inside and outside, fetch proxy, log flood, warm and cold rebuild; ONLY="start proxy" runs a part
	$(PYTHON) -m tests.bench.builder $(ONLY)

SECONDS_EACH ?= 6
fuzz: setup     ## coverage-guided fuzzing of all that reads untrusted bytes: SECONDS_EACH=6 for each target
	@$(PYTHON) -m tests.fuzz run --seconds $(SECONDS_EACH)

exhaustive: setup  ## every mutation of whole bundles, trust files and statements, of which `make test` samples
	$(PYTHON) -m pytest -q -m slow tests/fuzz

bench-peers: setup  ## four peers beside the engine's own network: latency, rate, CPU, pause when one is killed; ONLY="latency pauses" runs a part
	$(PYTHON) -m tests.bench.peers $(ONLY)

lint: setup     ## types, style, doors between the rooms
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

fmt: setup      ## format and mend what can be mended
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lock:           ## re-resolve requirements.lock (needs uv); hashes, no addresses
	uv pip compile -q --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
	  --no-header --no-annotate --no-emit-package touchplate pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --group pyproject.toml:fuzz --generate-hashes \
	  --no-header --no-annotate -o tests/fuzz/requirements.lock
	uv pip compile -q --universal --python-version 3.11 --group pyproject.toml:conan --generate-hashes \
	  --no-header --no-annotate -o tests/e2e/conan.lock
	uv pip compile -q --universal --python-version 3.11 --group pyproject.toml:conan-client --generate-hashes \
	  --constraints tests/e2e/conan.lock --no-header --no-annotate \
	  -o builder/touchplate/builder/ecosystems/conan/conan.lock

proto: setup    ## regenerate the code of proto/**/*.proto (committed; a test checks that nothing differs)
	$(PYTHON) -m tests.proto.generate proto

full: SECONDS_EACH := 60
full: lint test hostile hostile-cgroup2 fuzz exhaustive test-wheel demo conformance conformance-full e2e-peers e2e-trillian demo-negative e2e e2e-requirements pages torture rebuild-sample bench bench-builder  ## everything, slow parts too; then tests/FULL.md is written
	$(PYTHON) -m tests.full $^

clean:          ## what the targets made in this folder
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis evidence.json
