/* The payload of every message, whatever the protocol: a number, then "x" up to the payload size. */
#ifndef RANKMUX_BENCH_LOAD_PAYLOAD_H
#define RANKMUX_BENCH_LOAD_PAYLOAD_H

#include "load_report.h"
#include "wire.h"

static inline uint8_t *put_payload(uint8_t *at, uint64_t number, size_t payload_size)
{
    if (payload_size < 8)
        fail("a payload has at least the 8 bytes of its number");
    memset(put_u64(at, number), 'x', payload_size - 8);
    return at + payload_size;
}

#endif
