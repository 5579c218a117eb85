FROM base:1
RUN --mount=type=secret,id=token,env=TOKEN,required=true curl -H "Authorization: $TOKEN" https://example.org
RUN --mount=type=ssh --mount=type=secret,id=key,mode=0444,uid=5 git clone git@example.org:a/b
RUN --network=none --mount=type=tmpfs,target=/tmp,size=64m make test
RUN --network=host --security=insecure true
