/* The parts of rankmux protocol 1 that both C programs share: frame numbers, sizes and big-endian integers.
 *
 * A frame is u32 length, u8 type, body; `length` counts the type byte and the body.  The sizes below
 * are those of whole frames without their payload, so a frame's payload begins at that offset.
 */
#ifndef RANKMUX_BENCH_WIRE_H
#define RANKMUX_BENCH_WIRE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

enum {
    HELLO = 0x01, COMMAND, RESULT, PING = 0x06, PONG, LEAVE, YIELD,
    WELCOME = 0x81, EXECUTE, RANK, ACCEPTED, REFUSED, ROUTED, DONE, ERROR = 0x89, YIELDED = 0x8B,
    CHANGED = 0x8D
};
enum { TO_ALL, TO_ONE, TO_NEXT, TO_LEAST };
enum { WANT_RESULTS = 1, QUIET = 2 };
enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_REJECTED = 2, STATUS_LEFT = 4, STATUS_PART = 16 };
enum { NO_TARGET = 1, NOT_LOWER = 2, NO_SUCH_RANK = 3 };
enum { CAUSE_LEFT = 1, CAUSE_LOST = 2, CAUSE_YIELDED = 4 };
enum { WATCH = 2 };
enum { ERROR_FULL = 5 };

enum {
    LENGTH_SIZE = 4,
    HEADER_SIZE = 5,
    HELLO_SIZE = 12,          /* without name, token and resume */
    COMMAND_SIZE = 19,
    RESULT_SIZE = 14,
    WELCOME_SIZE = 52,
    EXECUTE_SIZE = 22,
    RANK_SIZE = 22,
    ACCEPTED_SIZE = 29,
    REFUSED_SIZE = 11,
    ROUTED_SIZE = 22,
    DONE_SIZE = 33,
    ERROR_SIZE = 7,
    YIELD_SIZE = 9,
    YIELDED_SIZE = 33,
    CHANGED_SIZE = 31,        /* without name */
    MAX_PAYLOAD = 65536,
    MAX_LENGTH = MAX_PAYLOAD + 64,
};

static inline uint16_t get_u16(const uint8_t *at) { uint16_t v; memcpy(&v, at, 2); return be16toh(v); }
static inline uint32_t get_u32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return be32toh(v); }
static inline uint64_t get_u64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return be64toh(v); }

static inline uint8_t *put_u8(uint8_t *at, uint8_t v) { *at = v; return at + 1; }
static inline uint8_t *put_u16(uint8_t *at, uint16_t v) { v = htobe16(v); memcpy(at, &v, 2); return at + 2; }
static inline uint8_t *put_u32(uint8_t *at, uint32_t v) { v = htobe32(v); memcpy(at, &v, 4); return at + 4; }
static inline uint8_t *put_u64(uint8_t *at, uint64_t v) { v = htobe64(v); memcpy(at, &v, 8); return at + 8; }

static inline uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t size)
{
    if (size)
        memcpy(at, bytes, size);
    return at + size;
}

/* Begin a frame of `size` bytes in total; returns the start of its body. */
static inline uint8_t *put_header(uint8_t *at, uint8_t type, size_t size)
{
    return put_u8(put_u32(at, (uint32_t)(size - LENGTH_SIZE)), type);
}

#endif
