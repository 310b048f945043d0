# Two of these do everything: `make demo` shows what lameduck is for, `make test` passes the tests.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

LAMEDUCK := target/release/lameduck
NPM_CI := npm ci --no-audit --no-fund --loglevel=error

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: need-cargo need-node need-python
need-cargo:
	@command -v cargo >/dev/null || { echo "lameduck is built with Rust; install it (rustup, or your system's package)." >&2; exit 2; }
need-node:
	@command -v npm >/dev/null || { echo "lameduck's Node binding needs Node 20 or later with npm; install it." >&2; exit 2; }
need-python:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "the tests of Python servers need python3 with venv; install them." >&2; exit 2; }

.PHONY: build
build: $(LAMEDUCK) node ## Build the command and the Node binding

.PHONY: $(LAMEDUCK) # cargo knows what is up to date
$(LAMEDUCK): need-cargo
	cargo build --release --locked --package lameduck-cli

.PHONY: node
node: need-cargo bindings/node/node_modules/.package-lock.json
	npm --prefix bindings/node run --silent build

# A folder's npm packages, as its lock file says.
%/node_modules/.package-lock.json: %/package-lock.json | need-node
	cd $* && $(NPM_CI)

.PHONY: pack
pack: node ## Pack what npm publishes for this platform, into bindings/node/packages
	npm --prefix bindings/node run --silent pack

.PHONY: demo
demo: build ## Restart one Express server under load, plain and with lameduck
	cd examples/express && npm install --no-audit --no-fund --loglevel=error
	@mkdir -p demo-output
	$(LAMEDUCK) drill --label plain --exit-timeout 5s --keep-going --json-file demo-output/plain.json \
	  -- node examples/express/plain.mjs > /dev/null || [ $$? -eq 1 ]
	$(LAMEDUCK) drill --label 'with lameduck' --against demo-output/plain.json \
	  --json-file demo-output/lameduck.json --svg demo-output/timeline.svg -- node examples/express/graceful.mjs
	@echo "the picture: demo-output/timeline.svg"

.PHONY: c
c: need-cargo ## Build the C library
	cargo build --release --locked --package lameduck-ffi

.PHONY: install
install: c ## Install the C library and its headers (DESTDIR, PREFIX, LIBDIR, INCLUDEDIR)
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" ffi/install.sh

.PHONY: python
python: need-cargo need-python ## Build the Python wheel
	bindings/python/build.sh

.PHONY: test
test: test-rust test-ffi test-node test-python test-resources test-deploy-day test-rolling test-defer ## Pass the tests

.PHONY: test-rust
test-rust: need-cargo
	tests/support/install.sh haproxy=haproxy nginx=nginx-light
	cargo fmt --all --check
	cargo clippy --workspace --features lameduck/async --all-targets --locked --quiet -- -D warnings
	cargo test --workspace --features lameduck/async --locked --quiet
	cargo test --manifest-path fuzz/Cargo.toml --locked --quiet

.PHONY: test-ffi
test-ffi: need-cargo
	ffi/tests/run.sh
	ffi/tests/install.sh
	ffi/tests/servers/run.sh

.PHONY: test-node
test-node: node $(LAMEDUCK) bindings/node/test/node_modules/.package-lock.json bindings/node/matrix/node_modules/.package-lock.json
	cd bindings/node/test && node all-nodes.mjs && node --test packaging/*.test.mjs
	cd bindings/node/matrix && node run.mjs --only lameduck --races 3

.PHONY: test-python
test-python: python
	bindings/python/tests/run.sh

.PHONY: table-python
table-python: python ## Measure what Python servers lose without and with lameduck, into docs/
	"$$(bindings/python/tests/venv.sh)/bin/python" bindings/python/tests/races.py --rounds 3 --out docs/python-servers.md

.PHONY: table-compare
table-compare: $(LAMEDUCK) node python bindings/node/matrix/node_modules/.package-lock.json ## Drill the libraries of today, into docs/ and README.md
	tests/support/install.sh haproxy=haproxy nginx=nginx-light
	"$$(bindings/python/tests/venv.sh)/bin/python" tests/compare/run.py --write

.PHONY: test-resources
test-resources: node python tests/resources/node_modules/.package-lock.json
	tests/databases/setup.sh
	LAMEDUCK_PYTHON="$$(bindings/python/tests/venv.sh)/bin/python" && export LAMEDUCK_PYTHON && \
	cd tests/resources && node --test --test-concurrency=2 *.test.mjs

.PHONY: test-deploy-day
test-deploy-day: node tests/deploy-day/node_modules/.package-lock.json
	tests/databases/setup.sh
	tests/support/install.sh haproxy=haproxy nginx=nginx-light
	node tests/deploy-day/run.mjs

.PHONY: test-rolling
test-rolling: node python tests/rolling/node_modules/.package-lock.json
	tests/rolling/setup.sh
	node tests/rolling/run.mjs --restarts 4 --hold stream,websocket
	for server in fastify hono; do \
	  node tests/rolling/run.mjs --server $$server --balancer nginx,haproxy-tcp --restarts 2 --hold stream,websocket; \
	done
	node tests/rolling/run.mjs --server hypercorn --balancer nginx --restarts 2 --hold stream,websocket
	node tests/rolling/run.mjs --server gunicorn-gthread --balancer haproxy-tcp --restarts 2
	node tests/rolling/run.mjs --server epoll --balancer nginx --restarts 2

.PHONY: test-defer
test-defer: need-cargo need-python
	tests/defer/run.py

.PHONY: prove
prove: test ## The longer proofs: many more cases, and that the tests can fail
	PROPTEST_CASES=1000000 cargo test --release --package lameduck --test reference --locked
	RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom cargo test --release --package lameduck --features async --lib --locked model
	core/tests/weaken.sh
	cargo run --release --package lameduck-exhaustive --locked
	LAMEDUCK_MISTAKES=all cargo test --package lameduck-cli --test mistakes --locked
	cargo run --release --package lameduck-simulation --locked -- drains 100000
	cargo test --release --package lameduck-simulation --locked
	LAMEDUCK_CLEAN_SHUTDOWNS=10000 cargo test --release --package lameduck-host --test watchdog --locked clean_shutdown
	@if [ "$$(id -u)" = 0 ] && [ -x /lib/systemd/systemd ]; then \
	  LAMEDUCK_SYSTEMD=1 cargo test --release --package lameduck-host --test systemd --locked; \
	else echo "not proven: what a real systemd makes of it (that takes root, and systemd)"; fi
	for run in {1..20}; do cargo test --quiet --package lameduck-host --test queue --test group --test idle_close --locked; done
	FUZZ_ROUNDS=40 ffi/tests/run.sh
	node bindings/node/test/can-fail.mjs
	cd bindings/node/matrix && node run.mjs --write
	tests/defer/run.py --rounds 10
	! tests/defer/run.py --held-only --fencing never
	! node tests/deploy-day/run.mjs --server plain
	! node tests/deploy-day/run.mjs --server bare
	node tests/deploy-day/run.mjs --restarts 200
	node tests/deploy-day/run.mjs --balancer nginx --restarts 100
	! node tests/deploy-day/run.mjs --service python --server plain
	! node tests/deploy-day/run.mjs --service python --server bare
	for balancer in haproxy-http nginx; do node tests/deploy-day/run.mjs --service python --balancer $$balancer --restarts 20 || exit 1; done
	! node tests/rolling/run.mjs --server plain
	for server in lameduck fastify hono; do \
	  node tests/rolling/run.mjs --server $$server --balancer nginx,haproxy-http,haproxy-tcp --restarts 20 --clients 220 --least 1000 \
	    --hold stream,websocket; \
	done
	node tests/rolling/run.mjs --balancer haproxy-http2 --restarts 20 --hold stream
	for server in uvicorn uvicorn-workers hypercorn gunicorn-gthread gunicorn-uvicorn granian; do \
	  node tests/rolling/run.mjs --server $$server --balancer nginx,haproxy-tcp --restarts 20 --hold stream,websocket || exit 1; \
	done
	for server in epoll evhttp beast; do \
	  node tests/rolling/run.mjs --server $$server --balancer nginx,haproxy-tcp --restarts 20 || exit 1; \
	  ! node tests/rolling/run.mjs --server $$server-without --balancer nginx,haproxy-tcp --restarts 2 || exit 1; \
	done
	ffi/tests/servers/run.sh --without
	for example in express fastify hono koa; do \
	  JOURNAL=/dev/null $(LAMEDUCK) drill --rate 1400 --connections 120 --restarts 20 -- node --import ./bindings/node/test/support/examples.mjs examples/$$example/graceful.mjs; \
	done

FUZZ_SECONDS ?= 3600

.PHONY: fuzz
fuzz: need-cargo ## Fuzz each target for FUZZ_SECONDS (3600); too long for prove
	fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: mutants
mutants: need-cargo ## Change the machine mechanically and see its tests notice (about 1 h); too long for prove
	@command -v cargo-mutants >/dev/null || { echo "install it: cargo install cargo-mutants --locked" >&2; exit 2; }
	mkdir -p target/mutants
	CARGO_PROFILE_DEV_DEBUG=none PROPTEST_CASES=64 cargo mutants --package lameduck --no-shuffle --output target/mutants \
	  || { code=$$?; [ $$code -eq 2 ] || [ $$code -eq 3 ]; } # survivors, or some that wake without end
	@echo "what survived (<), beside what docs/mutants.md justifies (>):"
	@diff <(sed -E 's/:[0-9]+:[0-9]+: /: /' target/mutants/mutants.out/missed.txt | sort -u) \
	  <(sed -n 's/^- `\(.*\)`:.*/\1/p' docs/mutants.md | sort -u) && echo "the same"

.PHONY: bench
bench: node python bindings/node/bench/node_modules/.package-lock.json ## What it costs, beside the libraries of today
	node bindings/node/bench/run.mjs
	node bindings/node/bench/run.mjs --protocol h2c
	node bindings/python/bench/run.mjs --python "$$(bindings/python/tests/venv.sh)/bin/python"
	tests/support/install.sh valgrind=valgrind
	"$$(bindings/python/tests/venv.sh)/bin/python" bindings/python/bench/instructions.py
	cargo bench --package lameduck-host --bench million --locked
	cargo bench --package lameduck --features async --bench guards --locked
	ffi/bench/run.sh
