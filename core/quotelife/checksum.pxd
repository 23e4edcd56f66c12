# CRC32C (Castagnoli, reflected polynomial 0x82F63B78) over plain memory. crc: the value so far, 0 to begin with.
from libc.stdint cimport uint8_t, uint32_t

cdef uint32_t crc32c_c(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil
