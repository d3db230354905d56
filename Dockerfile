# syntax=docker/dockerfile:1
# The one image: the command picks the process. Runs as nobody in particular, with a read-only root if wanted.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package filejobs-cli \
    && install -D target/release/filejobs /out/usr/local/bin/filejobs
# Volumes take over who owns the folder they are mounted on.
RUN mkdir -p /out/var/lib/filejobs/files /out/var/lib/filejobs/scratch /out/var/lib/filejobs/data

# C library, certificates, nothing else: no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chown=0:0 /out/usr/local/bin/filejobs /usr/local/bin/filejobs
COPY --from=build --chown=65532:65532 /out/var/lib/filejobs /var/lib/filejobs
WORKDIR /var/lib/filejobs
ENV FILEJOBS_DATA_DIR=/var/lib/filejobs/data
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/filejobs"]
CMD ["--help"]
