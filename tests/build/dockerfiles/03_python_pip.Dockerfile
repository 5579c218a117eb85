FROM base:1
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=off
WORKDIR /app
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked pip install -r requirements.txt
COPY . .
USER 1000:1000
CMD ["python", "-m", "app"]
