# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run build static measure install uninstall test test-browsers simulate test-ship test-musl test-docker check-systems test-hostile torture soak bench screenshots lint fmt readme ci cargo

BUILD := $${CARGO_TARGET_DIR:-target}
# Where `make static` leaves its binary.
STATIC ?= target/static$(if $(TARGET),/$(TARGET))/sse-server
PREFIX ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system

# rustc brings musl and a linker for these; for glibc Debian's cross compilers are needed (gcc-aarch64-linux-gnu,
# gcc-arm-linux-gnueabihf).
LINKER_aarch64-unknown-linux-musl := rust-lld
LINKER_armv7-unknown-linux-musleabihf := rust-lld
LINKER_aarch64-unknown-linux-gnu := aarch64-linux-gnu-gcc
LINKER_armv7-unknown-linux-gnueabihf := arm-linux-gnueabihf-gcc

# For this machine: musl where its standard library is installed (rustup target add x86_64-unknown-linux-musl), or else
# glibc. STD=build takes musl even so, and builds the library along, which makes the smallest binary; see tests/musl.
# optimize_for_size takes 40 KB off it, and costs no time that could be measured. Frame pointers take 70 KB off: what unwinding
# has to know of each function is shorter with them.
MUSL := x86_64-unknown-linux-musl
define CHOOSE_TARGET
if [ "$(STD)" = build ]; then \
	target="$(or $(TARGET),$(MUSL))"; \
	cargo="tests/musl $$target cargo"; std="-Z build-std=std,panic_unwind -Z build-std-features=optimize_for_size"; \
else \
	cargo=cargo; std=""; \
	$(CHOOSE_INSTALLED_TARGET); \
fi
endef
define CHOOSE_INSTALLED_TARGET
host=$$(rustc -vV | sed -n 's/^host: //p'); target="$(TARGET)"; \
if [ -z "$$target" ]; then \
	target=$$(echo $$host | sed 's/-gnu/-musl/'); \
	[ -d "$$(rustc --print target-libdir --target $$target)" ] || target=$$host; \
fi; \
[ -d "$$(rustc --print target-libdir --target $$target)" ] || { echo "$$target is not installed: rustup target add $$target" >&2; exit 1; }
endef

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and start the server (environment variables configure it)
	@exec $${CARGO_TARGET_DIR:-target}/release/sse-server

build: cargo ## build target/release/sse-server
	cargo build --release --locked

static: cargo ## build a static binary; TARGET=aarch64-unknown-linux-musl builds for another machine, STD=build makes the smallest
	@set -e; $(CHOOSE_TARGET); \
	linker="$(LINKER_$(TARGET))"; \
	[ -z "$$linker" ] || export CARGO_TARGET_$$(echo $$target | tr a-z- A-Z_)_LINKER="$$linker"; \
	RUSTFLAGS="-C target-feature=+crt-static -C force-frame-pointers=yes $$RUSTFLAGS" $$cargo build $$std --profile dist --locked --target $$target --bin sse-server; \
	mkdir -p "$(dir $(STATIC))"; cp "$(BUILD)/$$target/dist/sse-server" "$(STATIC)"; \
	ldd "$(STATIC)" 2>&1 | grep -qE 'statically linked|not a dynamic' || [ -n "$(TARGET)" ] || { echo "$(STATIC) is not static" >&2; exit 1; }; \
	echo "$(STATIC): $$target, static, stripped, $$(wc -c <"$(STATIC)") bytes"

measure: static ## print size, memory and start-up time of the static binary, beside others (PEERS="name=path …")
	tests/measure "$(STATIC)" $(PEERS)

install: ## install the static binary and the systemd units; PREFIX, DESTDIR
	@[ -x "$(STATIC)" ] || { echo "build it first: make static" >&2; exit 1; }
	install -D -m 755 "$(STATIC)" "$(DESTDIR)$(PREFIX)/bin/sse-server"
	mkdir -p "$(DESTDIR)$(UNITDIR)"
	sed 's|/usr/local/bin|$(PREFIX)/bin|' assets/sse-server.service >"$(DESTDIR)$(UNITDIR)/sse-server.service"
	install -m 644 assets/sse-server.socket "$(DESTDIR)$(UNITDIR)/sse-server.socket"
	install -D -m 600 assets/sse-server.env "$(DESTDIR)$(PREFIX)/share/sse-server/sse-server.env"
	install -m 644 assets/LICENSE "$(DESTDIR)$(PREFIX)/share/sse-server/LICENSE"

uninstall: ## remove what install has installed
	rm -f "$(DESTDIR)$(PREFIX)/bin/sse-server" "$(DESTDIR)$(UNITDIR)/sse-server.service" "$(DESTDIR)$(UNITDIR)/sse-server.socket"
	rm -rf "$(DESTDIR)$(PREFIX)/share/sse-server"

test: cargo ## run the tests but those with browsers, after installing what they need
	tests/run

test-browsers: cargo ## run the tests with real browsers, and with packages of npm and PyPI
	tests/run --browsers

test-hostile: cargo ## run the long tests with hostile clients and full machines
	RUST_TEST_THREADS=2 tests/run --features hostile-tests hostile_clients:: hostile_machine:: hostile_bytes:: soak:: torture:: disk::answered_messages_survive_200
	cargo test --release --locked --features hostile-tests --lib disk::power::
	@$(MAKE) --no-print-directory simulate SEEDS=1000..4000

torture: cargo ## 3 minutes in which servers, lines and Redis fail at random, and nothing accepted is lost; SECONDS, SEED
	TORTURE_SECONDS="$(or $(SECONDS),180)" TORTURE_SEED="$(or $(SEED),$(shell date +%s))" \
		tests/run --features hostile-tests --nocapture torture::

simulate: cargo ## run the simulation of the hub and the cluster with many seeds (SEEDS=100000, or SEEDS=1000..2000), or one of them and what happens in it (SEED=7)
	@SEEDS="$(or $(SEEDS),100000)" SEED="$(SEED)" cargo test --release --locked --test simulate -- --nocapture a_gap_is_told

soak: cargo ## 10 minutes with 1,000 clients coming and going
	SOAK_SECONDS=600 cargo test --release --features hostile-tests --test it -- --nocapture soak::

bench: cargo ## measure, and compare with the last run; CASES=… selects
	cargo test --release --features bench --test bench -- $(CASES)

screenshots: build ## pictures of the statistics page, in target/screenshots/, and the README's, assets/docs/page.png (7 minutes)
	npm --prefix tests/page ci --silent
	@SSE_SERVER=$${CARGO_TARGET_DIR:-target}/release/sse-server node tests/page/picture.js assets/docs/page.png
	@SSE_SERVER=$${CARGO_TARGET_DIR:-target}/release/sse-server node tests/page/screenshots.js $${CARGO_TARGET_DIR:-target}/screenshots

test-ship: static ## check what is promised of the static binary, the units, the proxies and the release
	SSE_SERVER_STATIC="$(abspath $(STATIC))" tests/run --features ship-tests static_binary:: units:: proxies:: workflow::
	@$(MAKE) --no-print-directory test-musl

# What the musl binary is tried with beside: everything where the C library matters.
MUSL_TESTS := publish_subscribe replay messages slow_clients shutdown storm redis redis_rates
MUSL_STATIC := target/static/$(MUSL)/sse-server

test-musl: cargo ## build the static binary with musl and its standard library, measure it, and run tests with it
	@set -e; \
	tests/musl $(MUSL) true || { [ $$? = 77 ]; exit; }; \
	$(MAKE) --no-print-directory static STD=build STATIC=$(MUSL_STATIC); \
	SSE_SERVER_STATIC="$(abspath $(MUSL_STATIC))" tests/run --features ship-tests static_binary::; \
	SSE_SERVER="$(abspath $(MUSL_STATIC))" tests/run $(MUSL_TESTS:%=%::); \
	tests/measure "$(MUSL_STATIC)"

# Where the library is built along, any target can be checked without a linker for it.
OTHER_SYSTEMS := x86_64-apple-darwin x86_64-unknown-freebsd

check-systems: cargo ## check the code for macOS and FreeBSD, without warnings
	@set -e; tests/musl $(MUSL) true || { [ $$? = 77 ]; exit; }; \
	for target in $(OTHER_SYSTEMS); do \
		echo "checking for $$target"; \
		RUSTFLAGS="-D warnings" tests/musl $(MUSL) cargo check -Z build-std=std,panic_unwind --locked --target $$target --lib --bins; \
	done

test-docker: cargo ## build, run and stop the image, where an engine is or can be started
	tests/docker

lint: cargo ## check format, layers, sentences, links, clippy and the code's documentation, without warnings
	cargo fmt --check
	tests/layers
	tests/sentences
	tests/links
	cargo clippy --release --locked --all-targets --all-features -- -D warnings
	cargo clippy --release --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps

fmt: cargo ## format the code
	cargo fmt

readme: cargo ## follow README.md and its chapters in a fresh clone, command by command
	tests/readme

ci: lint build test test-browsers test-ship check-systems test-docker test-hostile readme ## everything that has to pass

cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs, or on Debian with apt-get install cargo" >&2; exit 1; }
