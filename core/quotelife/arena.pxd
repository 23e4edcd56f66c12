# Memory whose pages cost nothing until they are touched: bounds can be generous, and an instrument pays for what it
# uses. calloc promises no such thing; it clears whatever the heap hands it.
cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int file, long offset)
    int munmap(void* address, size_t size)
    int PROT_READ
    int PROT_WRITE
    int MAP_PRIVATE
    int MAP_ANONYMOUS
    void* MAP_FAILED
    int madvise(void* address, size_t size, int advice)
    int MADV_DONTNEED

cdef inline size_t arena_size(size_t size) noexcept nogil:
    return (size + 4095) & ~<size_t>4095

cdef inline void* arena_new(size_t size) noexcept nogil:
    # Zeroed and page-aligned, or NULL.
    cdef void* memory = mmap(NULL, arena_size(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return NULL if memory == MAP_FAILED else memory

cdef inline void arena_free(void* memory, size_t size) noexcept nogil:
    if memory != NULL:
        munmap(memory, arena_size(size))

cdef inline void arena_forget(void* memory, size_t size) noexcept nogil:
    # Give whole pages of an arena back; they read as zeros when they are touched again.
    madvise(memory, size, MADV_DONTNEED)
