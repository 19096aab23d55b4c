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

# Licences, bans, sources and advisories of the dependencies (needs cargo-deny; the advisories, a network)
deny:
    cargo deny check

# Play the demo recording over and over
demo:
    cargo run --release -- testdata/demo.mcap --loop

# Play recordings to clients that others wrote (node, npm and python3 needed)
e2e *words:
    tests/e2e/run.sh {{ words }}

# Bad clients for so many minutes, beside a good one: its stream, memory and descriptors are watched
soak minutes="30":
    tests/e2e/run.sh --soak {{ minutes }}

# Throw damaged input at everything that reads what strangers send, for so many seconds each (needs nightly and cargo-fuzz)
fuzz seconds="60":
    for target in mcap jsonl client_message http; do \
        mkdir -p fuzz/corpus/$target; \
        cargo +nightly fuzz run $target fuzz/corpus/$target tests/corpus/$target -- \
            -max_total_time={{ seconds }} -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=8192 || exit 1; \
    done

# Measure
bench:
    cargo bench

# Make the recordings in testdata/ again
testdata:
    cargo run --release --example testdata
