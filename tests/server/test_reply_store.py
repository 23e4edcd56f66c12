"""Stored replies, held against a plain list of them."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife_server.reply_store import ENTRY_BYTES, ReplyStore

AGE_NS = 50
ROOM = 5 * (ENTRY_BYTES + 10)
IDS = st.sampled_from([f"id-{k}" for k in range(9)])


class Model:
    """What ``ReplyStore`` says it does."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes, bytes, int]] = []  # oldest first
        self.held_from_ns = 2**63 - 1
        self.evicted = 0

    def size(self) -> int:
        return sum(ENTRY_BYTES + len(reply) for _, _, reply, _ in self.kept)

    def forget(self, request_id: str) -> None:
        self.kept = [each for each in self.kept if each[0] != request_id]

    def keep(self, request_id: str, digest: bytes, reply: bytes, now_ns: int) -> None:
        self.forget(request_id)
        self.kept.append((request_id, digest, reply, now_ns))
        while self.size() > ROOM and self.kept[0][3] < self.held_from_ns:
            del self.kept[0]
            self.evicted += 1

    def expire(self, now_ns: int) -> None:
        while self.kept and now_ns - self.kept[0][3] > AGE_NS:
            del self.kept[0]

    def find(self, request_id: str, now_ns: int) -> tuple[bytes, bytes] | None:
        for kept_id, digest, reply, at_ns in self.kept:
            if kept_id == request_id and now_ns - at_ns <= AGE_NS:
                return digest, reply
        return None

    def oldest_age_ns(self, now_ns: int) -> int:
        return now_ns - self.kept[0][3] if self.kept else 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep"] * 5 + ["forget", "expire", "hold", "let go"]),
            IDS,
            st.integers(0, 20),
            st.binary(max_size=20),
        ),
        max_size=200,
    )
)
def test_it_keeps_what_the_list_keeps(deeds: list[tuple[str, str, int, bytes]]) -> None:
    store, model, now_ns = ReplyStore(ROOM, AGE_NS), Model(), 0
    for deed, request_id, by_ns, reply in deeds:
        now_ns += by_ns
        if deed == "keep":
            for each in (store, model):
                each.keep(request_id, reply[:3], reply, now_ns)
        elif deed == "forget":
            for each in (store, model):
                each.forget(request_id)
        elif deed == "expire":
            for each in (store, model):
                each.expire(now_ns)
        else:
            store.held_from_ns = model.held_from_ns = now_ns if deed == "hold" else 2**63 - 1
        assert (len(store), store.bytes, store.evicted) == (len(model.kept), model.size(), model.evicted)
        assert store.oldest_age_ns(now_ns) == model.oldest_age_ns(now_ns)
        for k in range(9):
            found = store.find(f"id-{k}", now_ns)
            assert found == model.find(f"id-{k}", now_ns)
            assert store.has(f"id-{k}", now_ns) == (found is not None)


def test_the_order_holds_when_many_behind_an_old_one_are_forgotten() -> None:
    store = ReplyStore(400 * ENTRY_BYTES, 2**62)
    store.keep("stays", b"", b"", 0)
    for k in range(1, 301):
        store.keep(f"kept-{k}", b"", b"", k)
        for _ in range(3):
            store.keep("again", b"", b"", k)
    assert len(store) == 302 and store.evicted == 0
    for k in range(301, 500):
        store.keep(f"kept-{k}", b"", b"", k)
    assert store.evicted == 101 and store.oldest_age_ns(500) == 500 - 101
    assert [store.has(each, 500) for each in ("stays", "kept-100", "kept-101", "again")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("forgotten", ["by number", "behind one that stays"])
def test_what_has_left_takes_no_memory(forgotten: str) -> None:
    store = ReplyStore(2**40 if forgotten == "behind one that stays" else 1000 * (ENTRY_BYTES + 100), 2**62)
    store.keep("stays", b"", b"", 0)
    tracemalloc.start()
    for round_ in range(4):
        before = tracemalloc.get_traced_memory()[0]
        for k in range(20_000):
            store.keep(f"{round_}-{k}", b"d" * 16, b"r" * 100, k)
            if forgotten == "behind one that stays":
                store.forget(f"{round_}-{k}")
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000
