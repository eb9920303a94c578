/* Commands at a given rate, and as many as are accepted, from one member of each server. */
#include "load_rates.h"
#include "load_crowd.h"
#include "load_rankmux.h"
#include "memory.h"
#include "wire.h"

enum { MESSAGE_OVERHEAD = 64 };

static uint64_t published;        /* the number of the last message */

/* The lowest rank at each server; the last rank is not among them. */
static uint32_t find_senders(uint32_t *senders)
{
    uint32_t found = 0;
    for (uint32_t server = 0; server < crowd.port_count; server++)
        for (uint32_t rank = 0; rank + 1 < crowd.count; rank++)
            if (crowd_member(rank)->server == server) {
                senders[found++] = rank;
                break;
            }
    if (found < crowd.port_count)
        fail("this needs two members at each server");
    return found;
}

/* Record the latency of each burst whose last delivery has arrived, in the order in which they were sent. */
static void note_done(struct report *report, const double *sent, const uint64_t *targets, uint64_t count, uint32_t burst)
{
    while (report->rounds < count && crowd.delivered >= targets[report->rounds])
        report_round(report, sent[report->rounds], burst);
}

/* `rate` bursts of commands to all in a second, whether those before have been delivered or not.  It sleeps between
 * them: the servers may need the core. */
void paced(struct report *report, double rate, double seconds, uint32_t burst)
{
    uint32_t senders[SERVERS_MAX], count = find_senders(senders);
    uint64_t bursts = (uint64_t)(rate * seconds), target = crowd.delivered;
    double *sent = resized(NULL, (bursts + 1) * sizeof *sent);
    uint64_t *targets = resized(NULL, (bursts + 1) * sizeof *targets);
    uint8_t *start = crowd_scratch(burst * (crowd.payload_size + MESSAGE_OVERHEAD));
    double started = now_s(), left;
    for (uint64_t i = 0; i < bursts; i++) {
        while ((left = started + (double)i / rate - now_s()) > 0) {
            crowd_read(left > 2e-3 ? (int)(1e3 * left) - 1 : 0);
            note_done(report, sent, targets, i, burst);
        }
        uint32_t rank = senders[i % count];
        uint8_t *end = start;
        for (uint32_t n = 0; n < burst; n++)
            end = put_command(end, 0, TO_ALL, 0, QUIET, ++published, crowd.payload_size);
        for (uint32_t below = rank + 1; below < crowd.count; below++)
            crowd_member(below)->expected += burst;
        target += (uint64_t)burst * (crowd.count - 1 - rank);
        targets[i] = target;
        sent[i] = now_s();
        crowd_send(crowd_member(rank), start, (size_t)(end - start));
    }
    for (uint64_t i = report->rounds; i < bursts; i++) {
        crowd_wait(&crowd.delivered, targets[i], "deliveries");
        note_done(report, sent, targets, bursts, burst);
    }
    free(sent);
    free(targets);
    report->unit = "command";
}

/* Each sender has up to `window` commands to the last rank under way, and sends `burst` of them at a time. */
void stream(struct report *report, uint32_t window, uint32_t burst, double seconds)
{
    uint32_t senders[SERVERS_MAX], count = find_senders(senders), last = crowd.count - 1;
    uint64_t issued[SERVERS_MAX], accepted = crowd.accepted;
    uint8_t *start = crowd_scratch(burst * (crowd.payload_size + MESSAGE_OVERHEAD));
    for (uint32_t i = 0; i < count; i++)
        issued[i] = crowd_member(senders[i])->accepted;
    double started = now_s();
    while (now_s() - started < seconds) {
        for (uint32_t i = 0; i < count; i++) {
            struct member *sender = crowd_member(senders[i]);
            if (issued[i] + burst > sender->accepted + window)
                continue;
            uint8_t *end = start;
            for (uint32_t n = 0; n < burst; n++)
                end = put_command(end, (uint32_t)++published, TO_ONE, last, 0, published, crowd.payload_size);
            crowd_member(last)->expected += burst;
            issued[i] += burst;
            crowd_send(sender, start, (size_t)(end - start));
        }
        crowd_read(1);
    }
    for (uint32_t i = 0; i < count; i++)
        crowd_wait(&crowd_member(senders[i])->accepted, issued[i], "receipts");
    crowd_wait(&crowd_member(last)->received, crowd_member(last)->expected, "deliveries");
    report->unit = "command";
    report->units = crowd.accepted - accepted;
}
