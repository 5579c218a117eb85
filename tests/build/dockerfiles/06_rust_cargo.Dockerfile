FROM base:1 AS build
WORKDIR /src
COPY --parents Cargo.toml Cargo.lock src/main.rs ./
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release && cp target/release/app /app
FROM base:1
COPY --from=build --chmod=0755 /app /usr/local/bin/app
STOPSIGNAL SIGINT
CMD ["app"]
