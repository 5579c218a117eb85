# A folder of pages behind a web server.
FROM base:1
LABEL org.example.kind="static site" org.example.port=8080
COPY site/ /srv/www/
EXPOSE 8080
WORKDIR /srv/www
CMD ["httpd", "-f", "-p", "8080"]
