# check=skip=JSONArgsRecommended;experimental=all
# is the number
ARG version
from base:${version} as Build
FROM --platform=linux/arm64 base:1 AS scratch
RUN true
FROM --platform=$TARGETPLATFORM base:$TARGETARCH$unknown AS build
ENV API_KEY=x
WORKDIR relative
COPY $missing secret.txt /x/
EXPOSE 80/TCP 127.0.0.1:80:80
CMD a
