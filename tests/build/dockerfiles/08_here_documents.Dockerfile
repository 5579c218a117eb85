# syntax=docker/dockerfile:1
FROM base:1
ARG NAME=world
RUN <<EOF
set -e
mkdir -p /made
echo "hello" > /made/hello
EOF
RUN <<-"SCRIPT"
    #!/bin/sh
    echo "$NAME" > /made/name
SCRIPT
RUN cat <<A > /made/a; cat <<B > /made/b
of a
A
of b
B
COPY <<config.ini <<'raw.ini' /etc/app/
name = ${NAME}
config.ini
name = ${NAME}
raw.ini
RUN 3<<EOF cat <&3 > /made/three
three
EOF
