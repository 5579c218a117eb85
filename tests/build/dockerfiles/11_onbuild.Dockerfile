FROM base:1 AS template
ONBUILD COPY . /app
ONBUILD RUN make -C /app
ONBUILD ENV READY=1

FROM template
CMD ["/app/run"]
