"""Sums of regression trees as XGBoost computes them, bit for bit, without XGBoost.

A split sends x < threshold left, else right, in float32; NaN is missing and goes where the split says. The margin
starts from the base margin and takes one leaf of each tree, in float32, in the order of the trees.

An ensemble is three flat arrays: ``sizes``, the number of nodes of each tree, and for each node of all trees its
``slots`` entry and its ``values`` entry. The nodes of a tree stand breadth first, so that the children of its k-th
split (from 0) are its nodes 2k + 1 and 2k + 2. A split's slot is 2·feature, + 1 when a missing value goes right, and
its value the threshold; a leaf has slot ``LEAF`` and its value is what it adds.

For evaluation, shallow trees are filled up to a common depth and walked eight abreast: no branch depends on the data,
and eight loads are under way at a time. Deep ones are walked node by node. Numbers are compared by keys, whole numbers
in the same order: the compare leaves its answer in the carry, and an addition with carry takes the walk one level down.
(No faster were eight trees in one register of AVX2, whose gathers load one by one, and key and slot side by side.)
"""

import numpy as np

from libc.math cimport logf
from libc.stdint cimport int32_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from quotelife.errors import ArtifactError

TREES_MOST = 10_000
NODES_MOST = 1 << 22
FEATURES_MOST = 30_000
VALUE_LARGEST = 1e30     # of a leaf or the base: no sum of TREES_MOST of them overflows
LEAF = 0xFFFF

cdef enum:
    ABREAST = 8
    FILL_MOST = 12
    FILL = 10            # deeper trees, filled up, outgrow the caches
    LEAF_SLOT = 0xFFFF


cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>

    /* The left child, at the odd place, where x is below the threshold. Compilers do not find the carry. */
    static inline size_t quotelife_down(size_t place, uint32_t x, const uint32_t *key) {
    #if defined(__x86_64__) && defined(__LP64__) && defined(__GNUC__) && !defined(QUOTELIFE_PORTABLE)
        __asm__("cmpl %2, %1; adcq %0, %0" : "+r"(place) : "r"(x), "m"(*key) : "cc");
        return place;
    #else
        return 2 * place + (x < *key);
    #endif
    }
    """
    size_t quotelife_down(size_t place, uint32_t x, const uint32_t* key) noexcept nogil


cdef inline float walk(const Trees* trees, const TreeGroup* group, const uint32_t* row, int depth,
                       float margin) noexcept nogil:
    # The margin with the leaves of one group of filled trees. Where depth is a constant, all places stand in registers
    # and all offsets in the code.
    cdef const uint32_t* key = trees.key + group.node
    cdef const uint16_t* slot = trees.slot + group.node
    cdef const float* leaf = trees.leaf + group.leaf
    cdef size_t place[ABREAST]
    cdef size_t i, at
    cdef int level
    for i in range(ABREAST):
        place[i] = 1
    for level in range(depth):
        for i in range(ABREAST):
            at = (i << depth) + place[i]
            place[i] = quotelife_down(place[i], row[slot[at]], key + at)
    for i in range(<size_t>group.trees):
        margin += leaf[(i << depth) + place[i] - (<size_t>1 << depth)]
    return margin


cdef float trees_margin(const Trees* trees, const uint32_t* row) noexcept nogil:
    cdef float margin = trees.base
    cdef const TreeGroup* group
    cdef const LinkedNode* linked
    cdef int g, i
    for g in range(trees.groups):
        group = &trees.group[g]
        if group.depth == 4:
            margin = walk(trees, group, row, 4, margin)
        elif group.depth == 3:
            margin = walk(trees, group, row, 3, margin)
        elif group.depth == 5:
            margin = walk(trees, group, row, 5, margin)
        elif group.depth == 6:
            margin = walk(trees, group, row, 6, margin)
        elif group.depth >= 0:
            margin = walk(trees, group, row, group.depth, margin)
        else:
            for i in range(group.trees):
                linked = trees.linked + trees.root[group.node + i]
                while linked.child:
                    linked = trees.linked + linked.child + (not row[linked.slot] < linked.key)
                margin += linked.value
    return margin


cdef void* _zeros(size_t count, size_t size) except NULL:
    cdef void* memory = calloc(count if count else 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef object _flat(object values, object dtype, str name):
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.ndim != 1:
        raise ArtifactError(f"{name}: one row of numbers is needed")
    array = array.copy()
    array.flags.writeable = False
    return array


cdef int _fill(Trees* trees, const TreeGroup* group, int lane, int place, int level, int node,
               const uint16_t[::1] slots, const float[::1] values, const int32_t[::1] child) except -1:
    # `node` and all below it into the places below `place`; below a leaf both ways lead to its value.
    cdef int at = (lane << group.depth) + place
    if level == group.depth:
        trees.leaf[group.leaf + at - (1 << level)] = values[node]
        return 0
    if child[node]:
        trees.slot[group.node + at] = slots[node]
        trees.key[group.node + at] = float_key(values[node])
    _fill(trees, group, lane, 2 * place + 1, level + 1, child[node] if child[node] else node, slots, values, child)
    _fill(trees, group, lane, 2 * place, level + 1, child[node] + 1 if child[node] else node, slots, values, child)
    return 0


cdef class TreeEnsemble:
    """Trees over ``features`` columns. ``sizes`` (trees,) int32, ``slots`` and ``values`` (nodes,) uint16 and float32.

    Groups of eight trees that are at most ``fill`` deep are filled up; 0 fills none. Raises ``ArtifactError`` naming
    what does not fit.
    """

    def __cinit__(self, *args, **kwargs):
        self.c.group = NULL
        self.c.key = NULL
        self.c.slot = NULL
        self.c.leaf = NULL
        self.c.linked = NULL
        self.c.root = NULL

    def __dealloc__(self):
        free(self.c.group)
        free(self.c.key)
        free(self.c.slot)
        free(self.c.leaf)
        free(self.c.linked)
        free(self.c.root)

    def __init__(self, int features, double base, sizes, slots, values, *, int fill=FILL):
        if self.c.group != NULL:
            raise TypeError("an ensemble is built once")
        if not 1 <= features <= FEATURES_MOST:
            raise ArtifactError(f"features: 1 to {FEATURES_MOST} columns, not {features}")
        if not -VALUE_LARGEST <= base <= VALUE_LARGEST:
            raise ArtifactError(f"base: {base!r} is no margin")
        if not 0 <= fill <= FILL_MOST:
            raise ValueError(f"fill must be 0 to {FILL_MOST}, not {fill}")
        self.features = features
        self.c.base = <float>base
        self.sizes = _flat(sizes, np.int32, "sizes")
        self.slots = _flat(slots, np.uint16, "slots")
        self.values = _flat(values, np.float32, "values")
        if len(self.sizes) > TREES_MOST or len(self.values) > NODES_MOST:
            raise ArtifactError(f"sizes: at most {TREES_MOST} trees with {NODES_MOST} nodes")
        if len(self.slots) != len(self.values) or self.sizes.sum(dtype=np.int64) != len(self.values):
            raise ArtifactError("sizes: the trees do not have as many nodes as there are slots and values")
        if len(self.sizes) and self.sizes.min() < 1:
            raise ArtifactError("sizes: a tree without a node")
        self._build(fill)

    @property
    def base(self):
        """The margin before any tree."""
        return self.c.base

    cdef int _build(self, int fill) except -1:
        cdef const int32_t[::1] sizes = self.sizes
        cdef const uint16_t[::1] slots = self.slots
        cdef const float[::1] values = self.values
        cdef int trees = <int>sizes.shape[0], nodes = <int>values.shape[0], t, i, first, splits, size, filled, linked
        cdef int g, depth
        cdef TreeGroup* group
        child_of = np.zeros(nodes, dtype=np.int32)       # left child, counted from the first node of all
        depth_of = np.zeros(nodes, dtype=np.int32)
        tree_depth = np.zeros(trees, dtype=np.int32)
        cdef int32_t[::1] child = child_of
        cdef int32_t[::1] level = depth_of
        cdef int32_t[::1] deepest = tree_depth
        first = 0
        for t in range(trees):
            size = sizes[t]
            splits = 0
            for i in range(size):
                if i > 2 * splits:
                    raise ArtifactError(f"tree {t}: node {i} hangs on no split")
                if slots[first + i] == LEAF_SLOT:
                    if not -VALUE_LARGEST <= values[first + i] <= VALUE_LARGEST:
                        raise ArtifactError(f"tree {t}: node {i}: {values[first + i]!r} is no value of a leaf")
                    continue
                if slots[first + i] >> 1 >= self.features:
                    raise ArtifactError(f"tree {t}: node {i}: feature {slots[first + i] >> 1} is beyond the "
                                        f"{self.features} there are")
                # Where −∞ is the threshold, nothing is below it, not even what stands for a missing value.
                if not values[first + i] > -np.inf:
                    raise ArtifactError(f"tree {t}: node {i}: {values[first + i]!r} is no threshold")
                if 2 * splits + 2 >= size:
                    raise ArtifactError(f"tree {t}: node {i} has children beyond the tree's {size} nodes")
                child[first + i] = first + 2 * splits + 1
                level[first + 2 * splits + 1] = level[first + 2 * splits + 2] = level[first + i] + 1
                splits += 1
            if size != 2 * splits + 1:
                raise ArtifactError(f"tree {t}: {size} nodes, of which {splits} split: there must be one leaf more")
            deepest[t] = level[first + size - 1]
            first += size

        self.c.groups = (trees + ABREAST - 1) // ABREAST
        self.c.group = <TreeGroup*>_zeros(self.c.groups, sizeof(TreeGroup))
        self.c.root = <int32_t*>_zeros(trees, sizeof(int32_t))
        self.c.linked = <LinkedNode*>_zeros(nodes, sizeof(LinkedNode))
        filled = linked = 0
        for g in range(self.c.groups):
            group = &self.c.group[g]
            group.trees = min(ABREAST, trees - g * ABREAST)
            depth = 0
            for t in range(g * ABREAST, g * ABREAST + group.trees):
                depth = max(depth, deepest[t])
            if depth <= fill:
                group.depth = depth
                group.node = group.leaf = filled
                filled += ABREAST << depth
            else:
                group.depth = -1
                group.node = linked
                linked += group.trees
        self.c.key = <uint32_t*>_zeros(filled, sizeof(uint32_t))
        self.c.slot = <uint16_t*>_zeros(filled, sizeof(uint16_t))
        self.c.leaf = <float*>_zeros(filled, sizeof(float))
        first = 0
        for t in range(trees):
            group = &self.c.group[t // ABREAST]
            if group.depth < 0:
                self.c.root[group.node + t % ABREAST] = first
                for i in range(first, first + sizes[t]):
                    self.c.linked[i].key = float_key(values[i])
                    self.c.linked[i].value = values[i]
                    self.c.linked[i].slot = slots[i] if child[i] else 0
                    self.c.linked[i].child = child[i]
            else:
                _fill(&self.c, group, t % ABREAST, 1, 0, first, slots, values, child)
            first += sizes[t]
        return 0

    def margins(self, x):
        """The margins of n rows ``x`` (n, features), float32, NaN where missing: (n,) float32; without the GIL.

        ``ValueError`` for another number of columns.
        """
        cdef const float[:, ::1] rows = np.ascontiguousarray(x, dtype=np.float32)
        cdef Py_ssize_t n = rows.shape[0], i
        cdef int k
        if rows.shape[1] != self.features:
            raise ValueError(f"x must have {self.features} columns, not {rows.shape[1]}")
        out = np.empty(n, dtype=np.float32)
        cdef float[::1] margin = out
        cdef uint32_t* row = <uint32_t*>_zeros(2 * self.features, sizeof(uint32_t))
        with nogil:
            for i in range(n):
                for k in range(self.features):
                    trees_put(row, k, rows[i, k])
                margin[i] = trees_margin(&self.c, row)
        free(row)
        return out

    def falls_with(self, int feature):
        """Whether no margin ever rises with ``feature``, all others being equal and it not missing.

        True when at every split on it no leaf on the left is below one on the right: what a monotone constraint of
        −1 makes XGBoost keep to. (Trees that violate it could still add up to a falling sum; that is not looked for.)
        """
        cdef const int32_t[::1] sizes = self.sizes
        cdef const uint16_t[::1] slots = self.slots
        low_of = self.values.copy()
        high_of = self.values.copy()
        cdef float[::1] low = low_of
        cdef float[::1] high = high_of
        cdef Py_ssize_t first = 0, t, i, left
        for t in range(sizes.shape[0]):
            left = first + sizes[t]
            for i in range(first + sizes[t] - 1, first - 1, -1):
                if slots[i] == LEAF_SLOT:
                    continue
                left -= 2        # the last split has the last two nodes
                if slots[i] >> 1 == feature and low[left] < high[left + 1]:
                    return False
                low[i] = min(low[left], low[left + 1])
                high[i] = max(high[left], high[left + 1])
            first += sizes[t]
        return True


def logistic_margin(float p):
    """The float32 margin whose logistic is ``p``: −logf(1/p − 1), rounded as XGBoost rounds it."""
    return <double>(-logf(<float>1.0 / p - <float>1.0))


def log_margin(float p):
    """logf(p), in float32."""
    return <double>logf(p)
