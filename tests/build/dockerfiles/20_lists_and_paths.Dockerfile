FROM base:1
WORKDIR /a
WORKDIR b
WORKDIR ../c
COPY ["name with space", "other", "target dir/"]
COPY a[1-3]?.txt *.cfg /etc/
VOLUME ["/data"]
LABEL a=1
LABEL b="x y" c=z
HEALTHCHECK NONE
