/* The load generator's output: a line of JSON for each command, or the reason for its exit. */
#ifndef RANKMUX_BENCH_LOAD_REPORT_H
#define RANKMUX_BENCH_LOAD_REPORT_H

#include <stdbool.h>
#include <stdint.h>

/* The measurements of one command. */
struct report {
    const char *unit;
    uint64_t units, rounds;
    double seconds;
    double *latencies_s;          /* one for each round */
    uint32_t latency_capacity;
};

double now_s(void);

/* Whether another round is due; there is always at least one. */
bool report_goes_on(const struct report *report, double started, double seconds);
void report_round(struct report *report, double sent, uint64_t units);
void report_print(const char *command, struct report *report, uint32_t members);

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
