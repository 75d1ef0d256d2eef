# The static binary and the certificate authorities of Mozilla that are compiled into it; nothing
# else is in the image. Build: docker build -t outboxd .

FROM rust:1.95-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends musl-tools \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    mkdir -p /image/var/lib/outboxd /image/tmp \
    && contrib/package/ship.sh "$(contrib/package/build-musl.sh)" /image/outboxd \
    && chmod 0700 /image/var/lib/outboxd && chmod 1777 /image/tmp

FROM scratch
LABEL org.opencontainers.image.title="outboxd" \
      org.opencontainers.image.description="A durable webhook outbox" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build --chown=65532:65532 /image/ /
# Not root. What is mounted on the volume has to belong to this user.
USER 65532:65532
ENV PATH=/ \
    OUTBOXD_DATA_DIR=/var/lib/outboxd
VOLUME /var/lib/outboxd
EXPOSE 7717
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=15m --start-interval=1s --retries=3 \
    CMD ["/outboxd", "health"]
ENTRYPOINT ["/outboxd"]
CMD ["serve"]
