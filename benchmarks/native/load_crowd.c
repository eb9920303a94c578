/* The members' sockets: opening, reading and sending. */
#include "load_crowd.h"
#include "load_report.h"
#include "memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    JOINING = 64,                 /* concurrent connection attempts: within every server's listen backlog */
    EVENTS = 1024,
    READ_SIZE = 256 << 10,
    PARTIAL_SIZE = 128 << 10,
    REPLY_SIZE = 64 << 10,
};
static const double STALL_S = 30;

struct crowd crowd;
static int epoll = -1;
static uint8_t input[PARTIAL_SIZE + READ_SIZE];
static uint8_t replies[REPLY_SIZE];
static size_t reply_used;

static int connected(uint16_t port, int receive_buffer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Closing resets: thousands of connections in TIME_WAIT would disturb the next run. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    return fd;
}

void crowd_listen(struct member *member, bool on)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};
    if (epoll_ctl(epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, member->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

/* Bring the crowd to `count` members, connected to the servers in turn. */
void crowd_open(uint32_t count, int receive_buffer)
{
    if (epoll < 0) {
        struct rlimit files;
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        epoll = epoll_create1(EPOLL_CLOEXEC);
    }
    uint64_t opened = crowd.joined;
    uint32_t before = crowd.count;
    RESERVE(crowd.members, crowd.capacity, crowd.first + count);
    while (crowd.count < count) {
        if (opened - crowd.joined >= JOINING)
            crowd_wait(&crowd.joined, opened - JOINING + 1, "joins");
        struct member *member = resized(NULL, sizeof *member);
        uint32_t server = crowd.count % crowd.port_count;
        *member = (struct member){.fd = connected(crowd.ports[server], receive_buffer), .rank = crowd.count, .server = server};
        crowd.members[crowd.first + crowd.count++] = NULL;
        opened++;
        crowd_listen(member, true);
        crowd.protocol->greet(member);
    }
    crowd_wait(&crowd.joined, opened, "joins");
    for (uint32_t rank = before; rank < count; rank++)
        if (rank && crowd_member(rank)->ticket < crowd_member(rank - 1)->ticket)
            fail("rank %u has a smaller ticket than rank %u", rank, rank - 1);
}

/* `member` has joined with `rank`.  The server may accept in another order than we connect. */
void crowd_seat(struct member *member, uint32_t rank)
{
    if (member->joined || rank >= crowd.count || crowd.members[crowd.first + rank])
        fail("a member joined twice, or with the rank of another: %u of %u", rank, crowd.count);
    member->joined = true;
    member->rank = rank;
    crowd.members[crowd.first + rank] = member;
    crowd.joined++;
}

struct member *crowd_member(uint32_t rank)
{
    return crowd.members[crowd.first + rank];
}

uint8_t *crowd_scratch(size_t size)
{
    static uint8_t *scratch;
    static size_t capacity;
    RESERVE(scratch, capacity, size);
    return scratch;
}

uint8_t *crowd_reply(size_t size)
{
    if (reply_used + size > REPLY_SIZE)
        fail("too many results for one read");
    reply_used += size;
    return replies + reply_used - size;
}

static void read_member(struct member *member)
{
    uint32_t partial = member->partial_size;
    ssize_t got = recv(member->fd, input + partial, READ_SIZE, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        if (!member->leaving)
            fail("member %u lost its connection: %s", member->rank, got ? strerror(errno) : "end of stream");
        close(member->fd);
        free(member->partial);
        free(member);
        crowd.closed++;
        return;
    }
    if (partial) {
        memcpy(input, member->partial, partial);
        free(member->partial);
        member->partial = NULL;
        member->partial_size = 0;
    }
    size_t size = partial + (size_t)got;
    size_t taken = crowd.protocol->take(member, input, size);
    if (taken < size) {
        if (size - taken > PARTIAL_SIZE)
            fail("member %u: a message without end", member->rank);
        member->partial_size = (uint32_t)(size - taken);
        member->partial = resized(NULL, member->partial_size);
        memcpy(member->partial, input + taken, member->partial_size);
    }
    if (reply_used) {
        size_t owed = reply_used;
        reply_used = 0;
        if (send(member->fd, replies, owed, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)owed)
            fail("member %u could not send its results", member->rank);
    }
}

/* Read every member that has input; returns whether there was any. */
bool crowd_read(int timeout_ms)
{
    static struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, timeout_ms);
    if (count < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++)
        read_member(events[i].data.ptr);
    return count > 0;
}

/* Read until `counter` reaches `target`.  It spins: waking a sleeping load would cost the server time. */
void crowd_wait(const uint64_t *counter, uint64_t target, const char *what)
{
    double deadline = now_s() + STALL_S;
    uint64_t seen = *counter;
    for (uint32_t turn = 1; *counter < target; turn++) {
        crowd_read(0);
        if (turn % 1024 == 0) {
            if (*counter != seen) {
                seen = *counter;
                deadline = now_s() + STALL_S;
            } else if (now_s() > deadline) {
                fail("stalled at %lu of %lu %s", (unsigned long)*counter, (unsigned long)target, what);
            }
        }
    }
}

/* Send all bytes, reading the other members while the server does not take them. */
void crowd_send(struct member *member, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    double deadline = now_s() + STALL_S;
    while (size) {
        ssize_t sent = send(member->fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            fail("member %u could not send: %s", member->rank, strerror(errno));
        if (sent > 0) {
            at += sent;
            size -= (size_t)sent;
            deadline = now_s() + STALL_S;
        } else {
            crowd_read(0);
            if (now_s() > deadline)
                fail("member %u could not send for %.0f s", member->rank, STALL_S);
        }
    }
}
