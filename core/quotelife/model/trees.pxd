# Sums of regression trees over a row of float32, as XGBoost adds them up.
from libc.stdint cimport int32_t, uint16_t, uint32_t
from libc.string cimport memcpy

cdef struct LinkedNode:      # of a tree as it is
    uint32_t key             # of the threshold
    float value              # what a leaf adds
    uint32_t slot
    int32_t child            # the left one, counted from the first node of all; the right one is next; 0 for a leaf

cdef struct TreeGroup:       # up to eight trees in a row
    int32_t depth            # of filled trees; -1 where the trees are linked
    int32_t trees
    int32_t node             # first node: of the group when filled, in `root` when linked
    int32_t leaf             # first leaf of the group

cdef struct Trees:
    float base
    int32_t groups
    TreeGroup* group
    uint32_t* key            # thresholds of the nodes of filled trees, whose place alone says who the children are
    uint16_t* slot
    float* leaf
    LinkedNode* linked
    int32_t* root            # of each linked tree

# A row has two places for each column, 2·i and 2·i + 1: see trees_put().
cdef float trees_margin(const Trees* trees, const uint32_t* row) noexcept nogil

cdef inline uint32_t float_key(float x) noexcept nogil:
    # A whole number in the order of the numbers; both zeros are one.
    cdef uint32_t bits
    x = x + <float>0.0
    memcpy(&bits, &x, sizeof(float))
    return ~bits if bits >> 31 else bits | 0x80000000u

cdef inline void trees_put(uint32_t* row, int column, float x) noexcept nogil:
    # A missing value (NaN) must go where the node says. It is below every threshold in the place that nodes read which
    # send it left, and above in the other, so that no node ever asks.
    cdef uint32_t key = float_key(x)
    row[2 * column] = 0 if x != x else key
    row[2 * column + 1] = 0xFFFFFFFFu if x != x else key


cdef class TreeEnsemble:
    # Immutable once built; any thread may evaluate `c` while a reference is held.
    cdef Trees c
    cdef readonly int features
    cdef readonly object sizes
    cdef readonly object slots
    cdef readonly object values
    cdef int _build(self, int fill) except -1
