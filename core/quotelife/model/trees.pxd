# Sums of regression trees over a row of float32, as XGBoost adds them up.
from libc.stdint cimport int32_t, uint16_t, uint32_t

cdef struct TreeNode:        # of a tree filled up to one depth, where the place alone says who the children are
    float threshold
    uint32_t slot

cdef struct LinkedNode:      # of a tree as it is
    float value              # threshold, or what a leaf adds
    uint32_t slot
    int32_t child            # the left one, counted from the first node of all; the right one is next; 0 for a leaf

cdef struct TreeGroup:       # up to TREES_ABREAST trees in a row
    int32_t depth            # of filled trees; -1 where the trees are linked
    int32_t trees
    int32_t node             # first node: of the group when filled, in `root` when linked
    int32_t leaf             # first leaf of the group

cdef struct Trees:
    float base
    int32_t groups
    TreeGroup* group
    TreeNode* node
    float* leaf
    LinkedNode* linked
    int32_t* root            # of each linked tree

# The row has two places for each feature, 2·i and 2·i + 1: see trees_put().
cdef float trees_margin(const Trees* trees, const float* slots) noexcept nogil

cdef inline void trees_put(float* slots, int feature, float x) noexcept nogil:
    # A missing value (NaN) must go where the node says. It is below every threshold in the place that nodes read which
    # send it left, and above in the other, so that no node ever asks.
    cdef float inf = 1e39
    slots[2 * feature] = -inf if x != x else x
    slots[2 * feature + 1] = inf if x != x else x


cdef class TreeEnsemble:
    # Immutable once built; any thread may evaluate `c` while a reference is held.
    cdef Trees c
    cdef readonly int features
    cdef readonly object sizes
    cdef readonly object slots
    cdef readonly object values
    cdef int _build(self, int fill) except -1
