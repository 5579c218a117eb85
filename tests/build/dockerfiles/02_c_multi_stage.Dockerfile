# syntax=docker/dockerfile:1
FROM base:1 AS build
WORKDIR /src
COPY main.c Makefile ./
RUN make \
    # a comment inside of a continued line
    CFLAGS=-O2 \
    all

FROM scratch
COPY --from=build /src/hello /hello
ENTRYPOINT ["/hello"]
