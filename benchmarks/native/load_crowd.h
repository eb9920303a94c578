/* The members' sockets, and the interface that a protocol implements to run on them. */
#ifndef RANKMUX_BENCH_LOAD_CROWD_H
#define RANKMUX_BENCH_LOAD_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct member {
    int fd;
    uint32_t rank;
    uint64_t ticket, seq;         /* the last seq seen; with pub/sub, the number in the payload */
    uint64_t changed_seq;         /* of the last CHANGED */
    uint64_t received, expected;  /* messages; never more than expected */
    uint64_t accepted;
    uint32_t server;              /* which of the ports it is connected to */
    uint32_t answered;            /* the last id that this executor's result has been routed for */
    uint8_t *partial;             /* an incomplete message */
    uint32_t partial_size;
    bool joined, leaving;         /* `rank` before it has joined: how many were opened before it */
};

struct protocol {
    const char *name;
    void (*greet)(struct member *member);
    /* Consume the complete messages in `bytes`; returns their total size in bytes. */
    size_t (*take)(struct member *member, const uint8_t *bytes, size_t size);
    /* Write one message to all: `payload_size` bytes, beginning with `number`; returns its end. */
    uint8_t *(*put)(uint8_t *at, uint64_t number, size_t payload_size);
};

enum { SERVERS_MAX = 8 };

/* The servers by their ports, all of one room.  The members in rank order, from `first` on, and the totals received by all of them since the start. */
struct crowd {
    const struct protocol *protocol;
    uint16_t ports[SERVERS_MAX];
    uint32_t port_count;
    struct member **members;
    uint32_t first, count, capacity;
    size_t payload_size;
    uint64_t joined, delivered, promoted, routed, done, accepted, pings, closed, changed, yielded;
    uint32_t last_executors;      /* of the last ACCEPTED */
    uint32_t yielding;            /* members that step back in this round */
    bool watching;                /* whether those that are opened watch */
};

extern struct crowd crowd;

void crowd_open(uint32_t count, int receive_buffer);
void crowd_seat(struct member *member, uint32_t rank);
void crowd_listen(struct member *member, bool on);
bool crowd_read(int timeout_ms);
void crowd_wait(const uint64_t *counter, uint64_t target, const char *what);
void crowd_send(struct member *member, const void *bytes, size_t size);
struct member *crowd_member(uint32_t rank);
uint8_t *crowd_scratch(size_t size);

/* Results due from the member being read; they are sent after its input has been read. */
uint8_t *crowd_reply(size_t size);

#endif
