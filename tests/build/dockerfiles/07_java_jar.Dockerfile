FROM base:1 AS build
WORKDIR /build
COPY pom.xml .
RUN mvn -B dependency:go-offline
COPY src src
RUN mvn -B package -DskipTests

FROM base:1
ARG JAR=app.jar
COPY --from=build /build/target/*.jar /opt/${JAR}
ENV JAVA_OPTS="-Xmx256m" JAR=$JAR
ENTRYPOINT exec java $JAVA_OPTS -jar /opt/$JAR
