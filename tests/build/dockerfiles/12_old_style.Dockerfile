FROM base:1
MAINTAINER Somebody <somebody@example.org>
ENV GREETING hello   world
LABEL description an old label
ADD files.tar.gz /opt/
WORKDIR app
RUN ["/bin/sh", "-c", "echo $GREETING"]
VOLUME /data /logs
EXPOSE 80 443/tcp 53/UDP
CMD echo $GREETING
CMD echo again
