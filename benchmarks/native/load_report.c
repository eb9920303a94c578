/* Rounds and their latencies, percentiles, the lines on stdout. */
#include "load_report.h"
#include "memory.h"

#include <stdarg.h>
#include <time.h>

double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool report_goes_on(const struct report *report, double started, double seconds)
{
    return !report->rounds || now_s() - started < seconds;
}

void report_round(struct report *report, double sent, uint64_t units)
{
    RESERVE(report->latencies_s, report->latency_capacity, report->rounds + 1);
    report->latencies_s[report->rounds++] = now_s() - sent;
    report->units += units;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double percentile_us(const struct report *report, uint64_t percent)
{
    if (!report->rounds)
        return 0;
    uint64_t rank = (report->rounds * percent + 99) / 100;      /* the nearest rank, from 1 */
    return 1e6 * report->latencies_s[rank - 1];
}

void report_print(const char *command, struct report *report, uint32_t members)
{
    if (report->rounds)
        qsort(report->latencies_s, report->rounds, sizeof *report->latencies_s, by_value);
    printf("{\"command\": \"%s\", \"unit\": \"%s\", \"units\": %lu, \"rounds\": %lu, \"seconds\": %.6f, \"members\": %u, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
           command, report->unit, (unsigned long)report->units, (unsigned long)report->rounds, report->seconds,
           members, percentile_us(report, 50), percentile_us(report, 99), percentile_us(report, 100));
    fflush(stdout);
}

void fail(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ')
            *at = '.';
    printf("{\"error\": \"%s\"}\n", text);
    exit(1);
}
