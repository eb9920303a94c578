/* The parts of the load generator.
 *
 * load.c            commands from stdin, one JSON line of results for each
 * load_crowd.c      the members' sockets: open, read, send; it knows no protocol
 * load_rankmux.c    rankmux protocol 1: frames are cut, checked and counted here
 * load_pubsub.c     the little of Redis, NATS and MQTT 3.1.1 that a fan-out takes
 * load_scenarios.c  what is sent when, and what must come of it
 *
 * Everything that arrives is checked.  The first thing that is not as it must be ends the program.
 */
#ifndef RANKMUX_BENCH_LOAD_H
#define RANKMUX_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct member {
    int fd;
    uint32_t rank;
    uint64_t ticket, seq;         /* the last seq seen; with pub/sub, the number in the payload */
    uint64_t received, expected;  /* messages; never more of them than expected */
    uint32_t answered;            /* the last id that this executor's result has been routed for */
    uint8_t *partial;             /* an incomplete message */
    uint32_t partial_size;
    bool joined, leaving;         /* `rank` before it has joined: how many were opened before it */
};

struct protocol {
    const char *name;
    void (*greet)(struct member *member);
    /* Take whole messages off `bytes`; how many bytes they had. */
    size_t (*take)(struct member *member, const uint8_t *bytes, size_t size);
    /* Lay one message to everybody, `payload_size` bytes with `number` in front; its end. */
    uint8_t *(*lay)(uint8_t *at, uint64_t number, size_t payload_size);
};

extern const struct protocol rankmux_protocol, redis_protocol, nats_protocol, mqtt_protocol;

/* The members in rank order, from `first` on, and what all of them have received since the start. */
struct crowd {
    const struct protocol *protocol;
    struct member **members;
    uint32_t first, count, capacity;
    size_t payload_size;
    uint64_t joined, delivered, promoted, routed, done, accepted, pings, closed;
    uint32_t last_executors;      /* of the last ACCEPTED */
};

extern struct crowd crowd;

void crowd_open(uint32_t count, uint16_t port, int receive_buffer);
void crowd_seat(struct member *member, uint32_t rank);
void crowd_listen(struct member *member, bool on);
bool crowd_read(int timeout_ms);
void crowd_wait(const uint64_t *counter, uint64_t target, const char *what);
void crowd_send(struct member *member, const void *bytes, size_t size);
struct member *crowd_member(uint32_t rank);
uint8_t *crowd_scratch(size_t size);

/* Results that the member being read owes; they are sent when it has been read. */
uint8_t *crowd_reply(size_t size);

uint8_t *lay_command(uint8_t *at, uint32_t id, uint8_t target, uint32_t arg, uint8_t flags, uint64_t number,
                     size_t payload_size);
uint8_t *lay_payload(uint8_t *at, uint64_t number, size_t payload_size);

/* What a scenario has measured. */
struct report {
    const char *unit;
    uint64_t units, rounds;
    double seconds;
    double *latencies_s;          /* one for each round */
    uint32_t latency_capacity;
};

void fan_out(struct report *report, uint32_t burst, double seconds);
void everyone(struct report *report, double seconds, int server);
void directed(struct report *report, uint32_t burst, double seconds);
void results(struct report *report, uint32_t burst, double seconds);
void promote(struct report *report, uint32_t departures);
void part(struct report *report, uint32_t departures);
void idle(struct report *report, double seconds);
void nonreaders(struct report *report, uint64_t bytes, size_t payload_size);

double now_s(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
