# The menu; `cargo xtask --help` has the details.

# List what there is.
default:
    @just --list

# Build, start the service on loopback and check the example.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# Format, lints, house rules, generated files, licences.
check:
    cargo xtask check

# Everything CI runs.
test *PARTS:
    cargo xtask test {{PARTS}}

# Write the committed files that are made from code.
generate:
    cargo xtask generate

# Each fuzz target for a while.
fuzz *ARGS:
    cargo xtask fuzz {{ARGS}}

# Kill everything at random moments: `just faults --seed 7`.
faults *ARGS:
    cargo xtask faults {{ARGS}}

# Speed and memory: `just bench engine`, `just bench e2e`, `just bench distributed -- many`.
bench NAME *ARGS:
    cargo xtask bench {{NAME}} {{ARGS}}

# Put the code in order.
fmt:
    cargo fmt --all
