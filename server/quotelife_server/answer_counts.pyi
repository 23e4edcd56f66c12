from quotelife_server.rpc import Code

class AnswerCounts:
    """Of one method."""

    def add(self, code: int, n: int = 1) -> None: ...
    def by_code(self) -> dict[Code, int]: ...
