MARKOUTS_NS: tuple[int, int, int, int]

class Marks:
    open: int
    next_ns: int
