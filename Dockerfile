# The operator: one static binary in an image with nothing else. Built natively for the builder and cross-linked by cargo
# for the other platform, so that no emulation is needed.
FROM --platform=$BUILDPLATFORM rust:1.95-alpine AS build
ARG TARGETARCH
RUN apk add --no-cache musl-dev gcc clang lld llvm
RUN case "$TARGETARCH" in amd64) target=x86_64 ;; arm64) target=aarch64 ;; *) exit 1 ;; esac \
    && echo "$target-unknown-linux-musl" > /target && rustup target add "$(cat /target)"
WORKDIR /src
COPY . .
ENV CC_aarch64_unknown_linux_musl=clang AR_aarch64_unknown_linux_musl=llvm-ar \
    CC_x86_64_unknown_linux_musl=clang AR_x86_64_unknown_linux_musl=llvm-ar \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=target-$TARGETARCH \
    cargo build --release --locked -p valence --target "$(cat /target)" \
    && cp "target/$(cat /target)/release/valence" /valence

FROM scratch
LABEL org.opencontainers.image.title="Valence" \
      org.opencontainers.image.description="Declares how fast a service must be and makes it so at the least cost" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /valence /valence
USER 65532:65532
ENTRYPOINT ["/valence"]
