ARG BASE=base
ARG TAG
FROM ${BASE}:${TAG:-1}
ARG VERSION=1.22.3-rc1
ENV SHORT=${VERSION%-*} \
    MAJOR=${VERSION%%.*} \
    REST=${VERSION#*.} \
    LAST=${VERSION##*.} \
    DASHED=${VERSION//./-} \
    ONE=${VERSION/./_} \
    SET=${VERSION:+yes} \
    QUOTED='$VERSION' \
    ESCAPED=\$VERSION \
    SPACED="a  b"
LABEL version=$SHORT "with space"="a \"quoted\" word"
