FROM base:1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      curl \

      jq \
 && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["curl"]
CMD ["--help"]
