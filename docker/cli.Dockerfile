# The command line: objects in and out of a cache, and a look at it.
#
#     docker build -f docker/cli.Dockerfile -t dev.local/infinicache:0.1.0 .
#
# Builder and runtime are of one Debian release, so that they have the same C library. The builder is
# no slim one, which would lack the make that builds jemalloc. For builds that can be repeated, give
# both by digest.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# What dependencies follow from: manifests, and sources without anything in them.
FROM ${RUST_IMAGE} AS outline
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN find crates -type f ! -name Cargo.toml -delete \
    && for crate in crates/*; do \
        mkdir -p "$crate/src" && touch "$crate/src/lib.rs" && echo 'fn main() {}' >"$crate/src/main.rs"; \
    done

FROM ${RUST_IMAGE} AS build
WORKDIR /src
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo
# This layer lasts until a manifest changes, whatever becomes of the sources. What was built from
# the empty ones is forgotten, or it would be taken for newer than the real ones.
COPY --from=outline /src ./
RUN cargo build --release --locked --package infinicache --bin infinicache --features kubernetes \
    && rm -rf target/release/.fingerprint/infinicache*
COPY crates crates
RUN cargo build --release --locked --package infinicache --bin infinicache --features kubernetes

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="infinicache" \
    org.opencontainers.image.description="The command line of infinicache" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/target/release/infinicache /usr/local/bin/infinicache
# Nothing is ever written to the root file system.
USER 65532:65532
# The program itself is the first process, and catches it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/infinicache"]
