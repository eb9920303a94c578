/* The scenarios for servers that share a room: rankmux only. */
#ifndef RANKMUX_BENCH_LOAD_RATES_H
#define RANKMUX_BENCH_LOAD_RATES_H

#include "load_report.h"

void paced(struct report *report, double rate, double seconds, uint32_t burst);
void stream(struct report *report, uint32_t window, uint32_t burst, double seconds);

#endif
