FROM base:1
RUN adduser -D app
USER app
WORKDIR /home/app
COPY --chown=app:app --chmod=u=rwX,go=rX . .
HEALTHCHECK --start-interval=1s CMD ["/bin/true"]
ENTRYPOINT ["./entry.sh"]
CMD []
