"""A database pool of make-believe, which says when it is used after its end."""


class Pool:
    open = True

    async def query(self):
        assert self.open, "the pool was closed under a request"
        return "a row"

    def query_now(self):
        assert self.open, "the pool was closed under a request"
        return "a row"

    async def close(self):
        self.open = False
        print("pool closed", flush=True)

    def close_now(self):
        self.open = False
        print("pool closed", flush=True)
