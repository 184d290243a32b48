# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run build test test-hostile soak bench lint fmt readme ci cargo

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and start the server (environment variables configure it)
	@exec $${CARGO_TARGET_DIR:-target}/release/sse-server

build: cargo ## build target/release/sse-server
	cargo build --release --locked

test: cargo ## run the tests, after installing what they need
	tests/run

test-hostile: cargo ## run the long tests with hostile clients and full machines
	tests/run --features hostile-tests --test hostile_clients --test hostile_machine --test hostile_bytes --test soak

soak: cargo ## 10 minutes with 1,000 clients coming and going
	SOAK_SECONDS=600 cargo test --release --features hostile-tests --test soak -- --nocapture

bench: cargo ## measure, and compare with the last run
	cargo test --release --features bench --test bench

lint: cargo ## check format and clippy, without warnings
	cargo fmt --check
	cargo clippy --release --locked --all-targets --all-features -- -D warnings
	cargo clippy --release --locked --all-targets --no-default-features -- -D warnings

fmt: cargo ## format the code
	cargo fmt

readme: build ## run the commands of README.md
	tests/readme

ci: lint build test test-hostile readme ## everything that has to pass

cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs, or on Debian with apt-get install cargo" >&2; exit 1; }
