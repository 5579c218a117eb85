ARG VERSION=1
FROM base:${VERSION} AS dependencies
WORKDIR /app
COPY package*.json ./
RUN --mount=type=cache,id=npm,target=/root/.npm \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci

FROM base:${VERSION}
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies --chown=1000:1000 /app/node_modules node_modules
COPY --exclude=*.md --exclude=**/test . .
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=2 CMD node health.js || exit 1
CMD ["node", "server.js"]
