/* The bare server: rankmux protocol 1 over one epoll loop in C, an upper bound for comparisons.
 *
 * It has the real server's turn, ranks, results, one send per receiver and turn, socket options and read budgets.
 * It has no limits, timeouts, tokens, WHO or log, and trusts its peers to behave: for benchmarks on loopback only.
 *
 * Usage: bare SEATS [PORT [USER_TIMEOUT_MS]]
 */
#include "bare.h"
#include "memory.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPTS_PER_TURN = 64,
    READ_PER_PEER = 64 << 10,
    READ_PER_TURN = 1 << 20,
    INPUT_SIZE = READ_PER_TURN + READ_PER_PEER + LENGTH_SIZE + MAX_LENGTH,
    SEND_BUFFER = 256 << 10,
};

static int epoll, listener;
static int user_timeout_ms = 20000;
static struct room room;
static struct outbox out;
static struct turn turn;
static uint8_t input[INPUT_SIZE];             /* the bytes read in this turn; payloads are used in place */
static size_t input_used;

#define APPEND(list, value)                                                     \
    do {                                                                        \
        RESERVE(turn.list##s, turn.list##_capacity, turn.list##_count + 1);     \
        turn.list##s[turn.list##_count++] = (value);                            \
    } while (0)

static void depart(struct peer *peer, uint8_t cause)
{
    peer->departing = true;
    turn.cause = cause;
    APPEND(departure, peer);
}

static bool take_hello(struct peer *peer, const uint8_t *body, size_t size)
{
    size_t at = 2;                            /* past version and flags; then name, token and resume */
    if (peer->greeted || size < HELLO_SIZE - HEADER_SIZE || body[0] != 1)
        return false;
    at += 1 + body[at];
    for (int text = 0; text < 2; text++) {
        if (at + 2 > size)
            return false;
        at += 2 + get_u16(body + at);
    }
    peer->greeted = true;
    APPEND(join, peer);
    return at == size;
}

static bool take_command(struct peer *peer, const uint8_t *frame, size_t size)
{
    if (size < COMMAND_SIZE || frame[9] > TO_LEAST)
        return false;
    struct command command = {
        .sender = peer, .id = get_u32(frame + 5), .target = frame[9], .arg = get_u32(frame + 10), .flags = frame[14],
        .ttl_ms = get_u32(frame + 15), .payload = frame + COMMAND_SIZE, .payload_size = (uint32_t)(size - COMMAND_SIZE)};
    if (command.flags & WANT_RESULTS && !command.ttl_ms)
        command.ttl_ms = 60000;
    if (command.target == TO_ALL)
        turn.shared_size += EXECUTE_SIZE + command.payload_size;
    APPEND(command, command);
    return true;
}

/* Returns whether the connection stays open. */
static bool take_frame(struct peer *peer, const uint8_t *frame, size_t size)
{
    uint8_t type = frame[LENGTH_SIZE];
    if (type == HELLO)
        return take_hello(peer, frame + HEADER_SIZE, size - HEADER_SIZE);
    if (peer->rank == NO_RANK)                /* even after a HELLO in the same turn: our load never does that */
        return false;
    switch (type) {
    case COMMAND:
        return take_command(peer, frame, size);
    case RESULT:
        if (size < RESULT_SIZE)
            return false;
        APPEND(result, ((struct result){peer, frame + RESULT_SIZE, get_u64(frame + 5),
                                        (uint32_t)(size - RESULT_SIZE), frame[13]}));
        return true;
    case PING:
        APPEND(pong, ((struct pong){peer, frame + HEADER_SIZE, (uint32_t)(size - HEADER_SIZE)}));
        return true;
    case PONG:
        return true;
    case LEAVE:
        depart(peer, CAUSE_LEFT);
        return true;
    }
    return false;
}

/* Split the bytes from `peer` into frames; an incomplete frame is kept until its next bytes arrive. */
static void take_bytes(struct peer *peer, const uint8_t *bytes, size_t size)
{
    while (size >= LENGTH_SIZE && !peer->departing) {
        uint32_t length = get_u32(bytes);
        if (length == 0 || length > MAX_LENGTH) {
            depart(peer, CAUSE_LOST);
            return;
        }
        if (size < LENGTH_SIZE + length)
            break;
        if (!take_frame(peer, bytes, LENGTH_SIZE + length)) {
            depart(peer, CAUSE_LOST);
            return;
        }
        bytes += LENGTH_SIZE + length;
        size -= LENGTH_SIZE + length;
    }
    if (size && !peer->departing) {
        peer->partial = resized(NULL, size);
        peer->partial_size = (uint32_t)size;
        memcpy(peer->partial, bytes, size);
    }
}

static void read_peer(struct peer *peer)
{
    uint8_t *at = input + input_used;
    size_t size = peer->partial_size;
    ssize_t got = recv(peer->fd, at + size, READ_PER_PEER, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        depart(peer, got ? CAUSE_LOST : CAUSE_LEFT);
        return;
    }
    if (size) {
        memcpy(at, peer->partial, size);
        free(peer->partial);
        peer->partial = NULL;
        peer->partial_size = 0;
    }
    size += (size_t)got;
    input_used += size;
    take_bytes(peer, at, size);
}

static void set_option(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

static void accept_some(void)
{
    for (int i = 0; i < ACCEPTS_PER_TURN && input_used < READ_PER_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        set_option(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms);
        struct peer *peer = resized(NULL, sizeof *peer);
        *peer = (struct peer){.fd = fd, .rank = NO_RANK, .first_private = NO_FRAME};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = peer});
        read_peer(peer);
    }
}

static void close_peer(struct peer *peer)
{
    outbox_forget(peer);
    close(peer->fd);
    free(peer->partial);
    free(peer);
}

/* Close departed peers; one with unsent output drains it first. */
static void reap(struct peer *peer)
{
    peer->departing = true;
    if (!peer->backlog)
        close_peer(peer);
    else
        epoll_ctl(epoll, EPOLL_CTL_MOD, peer->fd, &(struct epoll_event){.events = EPOLLOUT, .data.ptr = peer});
}

static void run_turn(const struct epoll_event *events, int count)
{
    input_used = turn.shared_size = 0;
    turn.command_count = turn.result_count = turn.pong_count = turn.departure_count = turn.join_count = 0;
    for (int i = 0; i < count; i++) {
        struct peer *peer = events[i].data.ptr;
        uint32_t ready = events[i].events;
        if (!peer) {
            accept_some();
            continue;
        }
        if (ready & EPOLLOUT && peer->backlog)
            outbox_continue(&out, peer);
        if (peer->departing) {
            if (!peer->backlog || ready & (EPOLLHUP | EPOLLERR))
                close_peer(peer);
        } else if (ready & ~EPOLLOUT && input_used < READ_PER_TURN) {
            read_peer(peer);
        }
    }
    room_turn(&room, &turn, &out);
    for (uint32_t i = 0; i < turn.join_count; i++)
        if (turn.joins[i]->closing && !turn.joins[i]->departing)
            reap(turn.joins[i]);
    for (uint32_t i = 0; i < turn.departure_count; i++)
        reap(turn.departures[i]);
}

int main(int count, char **arguments)
{
    uint32_t seats = count > 1 ? (uint32_t)atoi(arguments[1]) : 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(count > 2 ? (uint16_t)atoi(arguments[2]) : 0)};
    socklen_t size = sizeof address;
    if (!seats) {
        fprintf(stderr, "usage: %s SEATS [PORT [USER_TIMEOUT_MS]]\n", arguments[0]);
        return 2;
    }
    if (count > 3)
        user_timeout_ms = atoi(arguments[3]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    out.epoll = epoll;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)
        || getsockname(listener, (struct sockaddr *)&address, &size)
        || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN})) {
        perror("bare");
        return 1;
    }
    room_open(&room, seats);
    printf("listening on 127.0.0.1:%u for %u clients\n", ntohs(address.sin_port), seats);
    fflush(stdout);

    int capacity = (int)seats + ACCEPTS_PER_TURN;
    struct epoll_event *events = resized(NULL, (size_t)capacity * sizeof *events);
    for (;;) {
        int ready = epoll_wait(epoll, events, capacity, -1);
        if (ready > 0)
            run_turn(events, ready);
        else if (ready < 0 && errno != EINTR) {
            perror("bare: epoll_wait");
            return 1;
        }
    }
}
