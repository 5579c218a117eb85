FROM --platform=$BUILDPLATFORM base:1 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/root/.cache/go-build \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /out/app .

FROM scratch
COPY --link --from=build /out/app /app
USER 65534
ENTRYPOINT ["/app"]
