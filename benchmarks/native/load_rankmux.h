/* rankmux protocol 1, from a member's side. */
#ifndef RANKMUX_BENCH_LOAD_RANKMUX_H
#define RANKMUX_BENCH_LOAD_RANKMUX_H

#include "load_crowd.h"

extern const struct protocol rankmux_protocol;

uint8_t *put_command(uint8_t *at, uint32_t id, uint8_t target, uint32_t arg, uint8_t flags, uint64_t number,
                     size_t payload_size);

#endif
