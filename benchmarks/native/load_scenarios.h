/* The scenarios; all but fan_out and idle are for rankmux only. */
#ifndef RANKMUX_BENCH_LOAD_SCENARIOS_H
#define RANKMUX_BENCH_LOAD_SCENARIOS_H

#include "load_report.h"

#include <stddef.h>

void fan_out(struct report *report, uint32_t burst, double seconds);
void everyone(struct report *report, double seconds, int server);
void directed(struct report *report, uint32_t burst, double seconds);
void results(struct report *report, uint32_t burst, double seconds);
void promote(struct report *report, uint32_t departures);
void step_back(struct report *report, uint32_t changes, double seconds, int server);
void part(struct report *report, uint32_t departures);
void idle(struct report *report, double seconds);
void nonreaders(struct report *report, uint64_t bytes, size_t payload_size);

#endif
