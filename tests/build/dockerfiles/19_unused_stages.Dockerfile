FROM base:1 AS lint
RUN lint
FROM base:1 AS test
RUN test
FROM base:1 AS build
RUN build
FROM build AS release
RUN --mount=from=test,target=/test true
COPY --from=later /x /x
FROM base:1 AS later
RUN touch /x
FROM release AS final
