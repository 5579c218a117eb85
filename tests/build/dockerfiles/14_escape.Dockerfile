# escape=`
FROM base:1
ENV PATH_OF_IT=C:\Windows
RUN echo one `
    two
COPY file `
     /target/
