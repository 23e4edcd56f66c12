"""CRC32C: the checksum of everything that is kept on disk.

RFC 3720 appendix B.4. Three ways that give equal values; which of them a machine has is asked at run time.

1. Three streams of the SSE4.2 instruction, each a third of the block: the instruction takes three cycles, and one can
   begin in each. Remainders are put together by carry-less multiplication (Gopal et al., "Fast CRC Computation for
   iSCSI Polynomial Using CRC32 Instruction", Intel 2011).
2. One chain of the instruction, without PCLMULQDQ and for short blocks.
3. Slicing by eight bytes (Kounavis and Berry, 2008) everywhere else.
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
    #include <wmmintrin.h>

    #define QUOTELIFE_CRC_STREAM_WORDS 128     /* of eight bytes, in one stream at most before they are put together */
    #define QUOTELIFE_CRC_SHORT_BYTES 96       /* below, one chain is as fast */

    /* [j]: x^(64 j - 33) mod P, bits reflected. A remainder times that is, reduced by one more step of the
       instruction, what it is j words later: the product of two reflected values is short of a factor x, the step
       brings x^32. */
    static uint32_t quotelife_crc_later[2 * QUOTELIFE_CRC_STREAM_WORDS + 1];

    static void quotelife_crc_prepare_hardware(void) {
        uint32_t power = 1;                    /* x^31 */
        for (int j = 1; j <= 2 * QUOTELIFE_CRC_STREAM_WORDS; j++) {
            quotelife_crc_later[j] = power;
            for (int k = 0; k < 64; k++) power = (power >> 1) ^ (0x82F63B78u & (0u - (power & 1u)));
        }
    }

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

    __attribute__((target("sse4.2,pclmul")))
    static uint32_t quotelife_crc_streams_update(uint32_t crc, const uint8_t *data, size_t length) {
        while (length >= QUOTELIFE_CRC_SHORT_BYTES) {
            size_t words = length / 24, at;
            if (words > QUOTELIFE_CRC_STREAM_WORDS) words = QUOTELIFE_CRC_STREAM_WORDS;
            const uint8_t *second = data + 8 * words, *third = second + 8 * words;
            uint64_t a = (uint32_t)~crc, b = 0, c = 0;
            for (at = 0; at < 8 * words; at += 8) {
                uint64_t x, y, z;
                memcpy(&x, data + at, 8);
                memcpy(&y, second + at, 8);
                memcpy(&z, third + at, 8);
                a = _mm_crc32_u64(a, x);
                b = _mm_crc32_u64(b, y);
                c = _mm_crc32_u64(c, z);
            }
            __m128i first_later = _mm_clmulepi64_si128(
                _mm_cvtsi32_si128((int)a), _mm_cvtsi32_si128((int)quotelife_crc_later[2 * words]), 0);
            __m128i second_later = _mm_clmulepi64_si128(
                _mm_cvtsi32_si128((int)b), _mm_cvtsi32_si128((int)quotelife_crc_later[words]), 0);
            uint64_t product = (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(first_later, second_later));
            crc = ~(uint32_t)(_mm_crc32_u64(0, product) ^ c);
            data += 24 * words;
            length -= 24 * words;
        }
        return quotelife_crc_hardware_update(crc, data, length);
    }

    /* 0: by table, 1: one chain, 2: three streams. */
    static int quotelife_crc_ways(void) {
        if (!__builtin_cpu_supports("sse4.2")) return 0;
        return __builtin_cpu_supports("pclmul") ? 2 : 1;
    }
    #else
    #define quotelife_crc_streams_update quotelife_crc_table_update
    static void quotelife_crc_prepare_hardware(void) {}
    #define quotelife_crc_hardware_update quotelife_crc_table_update
    static int quotelife_crc_ways(void) { return 0; }
    #endif
    """
    void quotelife_crc_prepare() noexcept nogil
    void quotelife_crc_prepare_hardware() noexcept nogil
    int quotelife_crc_ways() noexcept nogil
    uint32_t quotelife_crc_table_update(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil
    uint32_t quotelife_crc_hardware_update(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil
    uint32_t quotelife_crc_streams_update(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil

cdef int _ways = quotelife_crc_ways()
quotelife_crc_prepare()
quotelife_crc_prepare_hardware()
HARDWARE = _ways > 0


cdef uint32_t crc32c_c(uint32_t crc, const uint8_t* data, size_t length) noexcept nogil:
    if _ways > 1:
        return quotelife_crc_streams_update(crc, data, length)
    if _ways:
        return quotelife_crc_hardware_update(crc, data, length)
    return quotelife_crc_table_update(crc, data, length)


def crc32c(const uint8_t[::1] data not None, uint32_t crc=0):
    """CRC32C of ``data``; ``crc`` is that of what came before it."""
    return crc32c_c(crc, &data[0] if data.shape[0] else NULL, data.shape[0])


def crc32c_chained(const uint8_t[::1] data not None, uint32_t crc=0):
    """``crc32c`` as it is without PCLMULQDQ."""
    cdef const uint8_t* raw = &data[0] if data.shape[0] else NULL
    if _ways:
        return quotelife_crc_hardware_update(crc, raw, data.shape[0])
    return quotelife_crc_table_update(crc, raw, data.shape[0])


def crc32c_portable(const uint8_t[::1] data not None, uint32_t crc=0):
    """``crc32c`` by the table alone, whatever the machine has."""
    return quotelife_crc_table_update(crc, &data[0] if data.shape[0] else NULL, data.shape[0])
