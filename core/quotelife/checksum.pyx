"""CRC32C: the checksum of everything that is kept on disk.

RFC 3720 appendix B.4. Two ways that give equal values: the SSE4.2 instruction where the machine has it, asked for at
run time, and slicing by eight bytes (Kounavis and Berry, 2008) everywhere else. Three streams of the instruction
would be faster still on long blocks; records here are short.
"""

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    static uint32_t quotelife_crc_table[8][256];

    static void quotelife_crc_prepare(void) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int k = 0; k < 8; k++) crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
            quotelife_crc_table[0][i] = crc;
        }
        for (int t = 1; t < 8; t++)
            for (uint32_t i = 0; i < 256; i++) {
                uint32_t crc = quotelife_crc_table[t - 1][i];
                quotelife_crc_table[t][i] = (crc >> 8) ^ quotelife_crc_table[0][crc & 255];
            }
    }

    static uint32_t quotelife_crc_table_update(uint32_t crc, const uint8_t *data, size_t length) {
        crc = ~crc;
        while (length >= 8) {
            uint32_t low = crc ^ ((uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16
                                  | (uint32_t)data[3] << 24);
            crc = quotelife_crc_table[7][low & 255] ^ quotelife_crc_table[6][low >> 8 & 255]
                ^ quotelife_crc_table[5][low >> 16 & 255] ^ quotelife_crc_table[4][low >> 24]
                ^ quotelife_crc_table[3][data[4]] ^ quotelife_crc_table[2][data[5]]
                ^ quotelife_crc_table[1][data[6]] ^ quotelife_crc_table[0][data[7]];
            data += 8;
            length -= 8;
        }
        while (length--) crc = (crc >> 8) ^ quotelife_crc_table[0][(crc ^ *data++) & 255];
        return ~crc;
    }

    #if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    #include <nmmintrin.h>

    __attribute__((target("sse4.2")))
    static uint32_t quotelife_crc_hardware_update(uint32_t crc, const uint8_t *data, size_t length) {
        uint64_t value = (uint32_t)~crc;
        while (length >= 8) {
            uint64_t word;
            memcpy(&word, data, 8);
            value = _mm_crc32_u64(value, word);
            data += 8;
            length -= 8;
        }
        uint32_t rest = (uint32_t)value;
        while (length--) rest = _mm_crc32_u8(rest, *data++);
        return ~rest;
    }

    static int quotelife_crc_has_hardware(void) { return __builtin_cpu_supports("sse4.2") != 0; }
    #else
    #define quotelife_crc_hardware_update quotelife_crc_table_update
    static int quotelife_crc_has_hardware(void) { return 0; }
    #endif
    """
    void quotelife_crc_prepare() noexcept nogil
    bint quotelife_crc_has_hardware() noexcept nogil
    uint32_t quotelife_crc_table_update(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil
    uint32_t quotelife_crc_hardware_update(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil

cdef bint _hardware = quotelife_crc_has_hardware()
quotelife_crc_prepare()
HARDWARE = bool(_hardware)


cdef uint32_t crc32c_c(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil:
    if _hardware:
        return quotelife_crc_hardware_update(crc, data, length)
    return quotelife_crc_table_update(crc, data, length)


def crc32c(const uint8_t[::1] data not None, uint32_t crc=0):
    """CRC32C of ``data``; ``crc`` is that of what came before it."""
    return crc32c_c(crc, &data[0] if data.shape[0] else NULL, data.shape[0])


def crc32c_portable(const uint8_t[::1] data not None, uint32_t crc=0):
    """``crc32c`` by the table alone, whatever the machine has."""
    return quotelife_crc_table_update(crc, &data[0] if data.shape[0] else NULL, data.shape[0])
