FROM base:1
ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.org/tool.tar.gz /opt/
ADD --keep-git-dir=true https://example.org/project.git#v1.2:docs /src/
ADD --chmod=644 --chown=root:root https://example.org/a.txt /etc/
