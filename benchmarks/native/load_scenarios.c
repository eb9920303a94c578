/* The scenarios: what is sent when, and the outcome that each round must reach before the next one begins. */
#include "load_scenarios.h"
#include "load_crowd.h"
#include "load_rankmux.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { MESSAGE_OVERHEAD = 64 };

static uint64_t published;        /* the number of the last message */
static uint32_t last_id;

static void leave(struct member *member)
{
    uint8_t frame[HEADER_SIZE];
    put_header(frame, LEAVE, HEADER_SIZE);
    member->leaving = true;
    crowd_send(member, frame, sizeof frame);
}

static void need_members(uint32_t least)
{
    if (crowd.count < least)
        fail("this needs %u members", least);
}

static void expect_from_all(uint32_t first_rank, uint64_t messages)
{
    for (uint32_t rank = first_rank; rank < crowd.count; rank++)
        crowd_member(rank)->expected += messages;
}

/* Rank 0 sends bursts to all, each when the last member has received the one before. */
void fan_out(struct report *report, uint32_t burst, double seconds)
{
    need_members(2);
    uint8_t *start = crowd_scratch(burst * (crowd.payload_size + MESSAGE_OVERHEAD));
    double started = now_s();
    while (report_goes_on(report, started, seconds)) {
        uint64_t target = crowd.delivered + (uint64_t)burst * (crowd.count - 1);
        uint8_t *end = start;
        for (uint32_t i = 0; i < burst; i++)
            end = crowd.protocol->put(end, ++published, crowd.payload_size);
        expect_from_all(1, burst);
        double sent = now_s();
        crowd_send(crowd_member(0), start, (size_t)(end - start));
        crowd_wait(&crowd.delivered, target, "deliveries");
        report_round(report, sent, (uint64_t)burst * (crowd.count - 1));
    }
    report->unit = "delivery";
}

static void stop_server(int server)
{
    char path[64], stat[256], *state;
    snprintf(path, sizeof path, "/proc/%d/stat", server);
    if (kill(server, SIGSTOP))
        fail("the server, process %d, cannot be stopped", server);
    do {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = read(file, stat, sizeof stat - 1);
        close(file);
        stat[size > 0 ? size : 0] = 0;
        state = strrchr(stat, ')');
        if (!state)
            fail("process %d is gone", server);
    } while (state[2] != 'T');
}

/* Every member that has juniors sends one command to all.  The server is stopped until the last of them has sent,
 * so that all commands are there for one turn. */
void everyone(struct report *report, double seconds, int server)
{
    need_members(2);
    uint64_t deliveries = (uint64_t)crowd.count * (crowd.count - 1) / 2;
    uint8_t *start = crowd_scratch(crowd.payload_size + MESSAGE_OVERHEAD);
    double started = now_s();
    while (report_goes_on(report, started, seconds)) {
        uint64_t target = crowd.delivered + deliveries;
        stop_server(server);
        for (uint32_t rank = 0; rank < crowd.count; rank++) {
            crowd_member(rank)->expected += rank;
            if (rank + 1 < crowd.count) {
                uint8_t *end = crowd.protocol->put(start, ++published, crowd.payload_size);
                crowd_send(crowd_member(rank), start, (size_t)(end - start));
            }
        }
        double sent = now_s();
        kill(server, SIGCONT);
        crowd_wait(&crowd.delivered, target, "deliveries");
        report_round(report, sent, deliveries);
    }
    report->unit = "delivery";
}

/* Rank 0 sends bursts of commands to one rank each, to all ranks in turn. */
void directed(struct report *report, uint32_t burst, double seconds)
{
    need_members(2);
    uint8_t *start = crowd_scratch(burst * (crowd.payload_size + MESSAGE_OVERHEAD));
    uint32_t rank = 0;
    double started = now_s();
    while (report_goes_on(report, started, seconds)) {
        uint64_t target = crowd.delivered + burst;
        uint8_t *end = start;
        for (uint32_t i = 0; i < burst; i++) {
            rank = rank + 1 < crowd.count ? rank + 1 : 1;
            end = put_command(end, 0, TO_ONE, rank, QUIET, ++published, crowd.payload_size);
            crowd_member(rank)->expected++;
        }
        double sent = now_s();
        crowd_send(crowd_member(0), start, (size_t)(end - start));
        crowd_wait(&crowd.delivered, target, "commands");
        report_round(report, sent, burst);
    }
    report->unit = "command";
}

/* Rank 0 sends bursts to all and requests results, every executor answers; the next burst follows when all are DONE. */
void results(struct report *report, uint32_t burst, double seconds)
{
    need_members(2);
    uint8_t *start = crowd_scratch(burst * (crowd.payload_size + MESSAGE_OVERHEAD));
    for (uint32_t rank = 1; rank < crowd.count; rank++)
        crowd_member(rank)->answered = last_id;
    double started = now_s();
    while (report_goes_on(report, started, seconds)) {
        uint64_t answers = (uint64_t)burst * (crowd.count - 1), routed = crowd.routed + answers;
        uint64_t accepted = crowd.accepted + burst, done = crowd.done + burst;
        uint8_t *end = start;
        for (uint32_t i = 0; i < burst; i++)
            end = put_command(end, ++last_id, TO_ALL, 0, WANT_RESULTS, ++published, crowd.payload_size);
        expect_from_all(1, burst);
        double sent = now_s();
        crowd_send(crowd_member(0), start, (size_t)(end - start));
        crowd_wait(&crowd.done, done, "commands done");
        report_round(report, sent, answers);
        if (crowd.done != done || crowd.routed != routed || crowd.accepted != accepted || crowd.last_executors != crowd.count - 1)
            fail("%lu results, %lu receipts, %u executors", (unsigned long)crowd.routed, (unsigned long)crowd.accepted,
                 crowd.last_executors);
    }
    report->unit = "result";
}

/* Rank 0 leaves and all other members receive their new ranks, repeatedly. */
void promote(struct report *report, uint32_t departures)
{
    need_members(departures + 1);
    for (uint32_t i = 0; i < departures; i++) {
        struct member *leaver = crowd_member(0);
        uint64_t closed = crowd.closed + 1, target = crowd.promoted + crowd.count - 1;
        crowd.first++;
        crowd.count--;
        double sent = now_s();
        leave(leaver);
        crowd_wait(&crowd.promoted, target, "promotions");
        report_round(report, sent, crowd.count);
        crowd_wait(&crowd.closed, closed, "departures");
    }
    report->unit = "promotion";
}

/* The members above the last step back in one turn, so that the line changes twice for each of them, repeatedly.  No
 * other event costs the server less.  The units are those of a room of watchers, whether these watch or not. */
void step_back(struct report *report, uint32_t changes, double seconds, int server)
{
    uint32_t yields = changes / 2;
    need_members(yields + 2);
    uint8_t frame[YIELD_SIZE];
    put_u32(put_header(frame, YIELD, YIELD_SIZE), 1);
    double started = now_s();
    while (report_goes_on(report, started, seconds)) {
        uint64_t yielded = crowd.yielded + yields, promoted = crowd.promoted + 1;
        uint64_t changed = crowd.changed + (crowd.watching ? 2ul * yields * crowd.count : 0);
        struct member **first = &crowd.members[crowd.first + crowd.count - 1 - yields], *last = first[yields];
        crowd.yielding = yields;
        if (yields > 1)
            stop_server(server);
        double sent = now_s();
        for (uint32_t i = 0; i < yields; i++)
            crowd_send(first[i], frame, sizeof frame);
        if (yields > 1)
            kill(server, SIGCONT);
        crowd_wait(&crowd.yielded, yielded, "yields");
        crowd_wait(&crowd.promoted, promoted, "promotions");
        crowd_wait(&crowd.changed, changed, "changes");
        report_round(report, sent, 2ul * yields * crowd.count);
        memmove(first + 1, first, yields * sizeof *first);
        *first = last;
        crowd.yielding = 0;
        for (uint32_t rank = crowd.count - 1 - yields; rank < crowd.count; rank++)
            if (crowd_member(rank)->rank != rank)
                fail("rank %u believes that it is %u", rank, crowd_member(rank)->rank);
    }
    report->unit = "change";
}

/* The members with the lowest ranks leave, the last first, so that no other rank changes. */
void part(struct report *report, uint32_t departures)
{
    need_members(departures + 1);
    uint64_t closed = crowd.closed + departures;
    for (uint32_t i = 0; i < departures; i++)
        leave(crowd_member(--crowd.count));
    crowd_wait(&crowd.closed, closed, "departures");
    report->unit = "departure";
    report->units = departures;
}

/* Nothing but answers to the server's pings. */
void idle(struct report *report, double seconds)
{
    uint64_t pings = crowd.pings, delivered = crowd.delivered;
    double started = now_s(), left;
    while ((left = seconds - (now_s() - started)) > 0)
        crowd_read((int)(1000 * left) + 1);
    if (crowd.delivered != delivered)
        fail("messages while idle");
    report->unit = "ping";
    report->units = crowd.pings - pings;
}

/* Rank 0 sends `bytes` of payloads to all, and no other member reads any of it.  The round ends when the server
 * has taken the last command. */
void nonreaders(struct report *report, uint64_t bytes, size_t payload_size)
{
    need_members(2);
    uint8_t *start = crowd_scratch(payload_size + MESSAGE_OVERHEAD);
    uint64_t commands = (bytes + payload_size - 1) / payload_size, accepted = crowd.accepted + 1;
    for (uint32_t rank = 1; rank < crowd.count; rank++)
        crowd_listen(crowd_member(rank), false);
    double sent = now_s();
    for (uint64_t i = 1; i <= commands; i++) {
        uint8_t *end = put_command(start, 0, TO_ALL, 0, i < commands ? QUIET : 0, ++published, payload_size);
        crowd_send(crowd_member(0), start, (size_t)(end - start));
    }
    crowd_wait(&crowd.accepted, accepted, "receipts");
    report_round(report, sent, commands);
    if (crowd.last_executors != crowd.count - 1)
        fail("%u executors instead of %u", crowd.last_executors, crowd.count - 1);
    report->unit = "command";
}
