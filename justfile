# The program, as it is shipped
build:
    cargo build --release

# Every test that needs nothing but Rust
test:
    cargo test

# Formatting, lints and documentation
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# Play the demo recording over and over
demo:
    cargo run --release -- testdata/demo.mcap --loop

# Play recordings to clients that others wrote (node, npm and python3 needed)
e2e *words:
    tests/e2e/run.sh {{ words }}

# Measure
bench:
    cargo bench

# Make the recordings in testdata/ again
testdata:
    cargo run --release --example testdata
