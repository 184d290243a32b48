# docker build -t sse-server . && docker run -p 8080:8080 -e AUTH_TOKEN=… sse-server
#
# The image holds one static binary, its licence and nothing else. BASE is any image with Rust, a C linker and a shell; on Alpine the
# binary is linked with musl, elsewhere with a static glibc.
ARG BASE=rust:1-alpine
FROM ${BASE} AS build
WORKDIR /build
ENV RUSTFLAGS="-C target-feature=+crt-static"
# The dependencies are a layer of their own, which is built anew only when these two files change. The tests stay
# outside, so their sections go.
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[test\]\]$/,/^$/d' Cargo.toml \
    && rustc -vV | sed -n 's/^host: //p' >target.txt \
    && mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && cargo build --profile dist --locked --target "$(cat target.txt)" --bin sse-server
COPY assets assets
COPY src src
# touch: newer than what was built in its place above.
RUN touch src/main.rs src/lib.rs \
    && cargo build --profile dist --locked --target "$(cat target.txt)" --bin sse-server \
    && cp "target/$(cat target.txt)/dist/sse-server" /sse-server \
    && mkdir -m 700 /data

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sse-server" \
      org.opencontainers.image.description="Publish with curl, receive with EventSource" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /sse-server /sse-server
COPY --from=build /build/assets/LICENSE /LICENSE
# For -v NAME:/data -e DATA_DIR=/data. A new volume gets owner and mode from here.
COPY --from=build --chown=65532:65532 /data /data
# A number: there is no /etc/passwd.
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s CMD ["/sse-server", "--healthcheck"]
ENTRYPOINT ["/sse-server"]
