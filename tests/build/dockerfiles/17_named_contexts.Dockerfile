FROM base:1 AS tools
RUN echo tool > /tool
FROM base:1
COPY --from=0 /tool /usr/local/bin/
COPY --from=assets . /assets/
COPY --from=other:2 /etc/os-release /etc/other-release
RUN --mount=type=bind,from=tools,source=/tool,target=/mnt/tool cat /mnt/tool
