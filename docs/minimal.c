/* A client of rankmux in C, with nothing but sockets. Usage: minimal HOST PORT NAME
 *
 * A line on standard input is a command to all below; a command from above is printed and answered. End of input: LEAVE.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELLO = 1, COMMAND, RESULT, PING = 6, PONG, LEAVE };
enum { WELCOME = 0x81, EXECUTE, RANK, ACCEPTED, REFUSED, ROUTED, DONE, MEMBERS, ERROR };
enum { OK = 0, REJECTED = 2 };

static int server;
static uint32_t rank;
static uint8_t in[65536 + 64 + 1]; /* what a frame may be at most, with the server's default max_payload */

static void die(const char *what) { perror(what); exit(1); }

static uint32_t u32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

static uint8_t *put(uint8_t *p, uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--) *p++ = (uint8_t)(value >> 8 * i);
    return p;
}

static void send_frame(int type, const void *head, size_t head_size, const void *payload, size_t size) {
    static uint8_t out[sizeof in + 4];
    uint8_t *p = put(put(out, 1 + head_size + size, 4), (uint64_t)type, 1);
    if (head_size) memcpy(p, head, head_size);
    if (size) memcpy(p + head_size, payload, size);
    for (uint8_t *end = p + head_size + size, *from = out; from < end;) {
        ssize_t sent = write(server, from, (size_t)(end - from));
        if (sent < 0) die("the connection");
        from += sent;
    }
}

static void read_all(uint8_t *p, size_t size) {
    while (size > 0) {
        ssize_t got = read(server, p, size);
        if (got < 0) die("the connection");
        if (got == 0) exit(0);
        p += got, size -= (size_t)got;
    }
}

/* Read one frame into `in`: its type in in[0], its body behind it, and a 0 behind that. Returns the body's length. */
static size_t read_frame(void) {
    uint8_t length[4];
    read_all(length, 4);
    if (u32(length) < 1 || u32(length) >= sizeof in) { fprintf(stderr, "a frame of %u bytes\n", u32(length)); exit(1); }
    read_all(in, u32(length));
    in[u32(length)] = 0;
    return u32(length) - 1;
}

static void receive(void) {
    size_t size = read_frame();
    const uint8_t *body = in + 1;
    if (in[0] == WELCOME) {
        rank = u32(body + 25); /* behind version, instance, ticket, seq */
        printf("rank %u\n", rank);
    } else if (in[0] == RANK) {
        rank = u32(body + 8);
        printf("new rank %u\n", rank);
    } else if (in[0] == EXECUTE) { /* u64 seq, u32 sender_rank, u8 flags, u32 ttl_ms, payload */
        int obey = u32(body + 8) < rank;
        uint8_t head[9];
        memcpy(head, body, 8);
        head[8] = obey ? OK : REJECTED;
        if (obey) printf("execute: %s\n", body + 17);
        if (body[12] & 1) send_frame(RESULT, head, 9, "done by C", obey ? 9 : 0);
    } else if (in[0] == ACCEPTED) {
        printf("sent to %u, rejected for %u\n", u32(body + 12), u32(body + 16));
    } else if (in[0] == REFUSED) {
        printf("refused: %s\n", body + 6);
    } else if (in[0] == ROUTED) {
        printf("rank %u answers, status %u: %s\n", u32(body + 12), body[16], body + 17);
    } else if (in[0] == DONE) {
        printf("done, %u ok\n", u32(body + 4));
    } else if (in[0] == PING) {
        send_frame(PONG, body, size, "", 0);
    } else if (in[0] == ERROR) {
        fprintf(stderr, "error %u: %s\n", body[0] << 8 | body[1], body + 2);
        exit(1);
    }
}

int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (argc != 4 || strlen(argv[3]) > 64) { fprintf(stderr, "usage: minimal HOST PORT NAME\n"); return 2; }
    if (getaddrinfo(argv[1], argv[2], &hints, &found)) { fprintf(stderr, "there is no %s\n", argv[1]); return 1; }
    server = socket(found->ai_family, SOCK_STREAM, 0);
    if (server < 0 || connect(server, found->ai_addr, found->ai_addrlen)) die("connecting");
    setvbuf(stdout, NULL, _IOLBF, 0);

    size_t name = strlen(argv[3]);
    uint8_t hello[3 + 64 + 4] = {1, 0, (uint8_t)name}; /* version, flags, name; token and resume are empty */
    memcpy(hello + 3, argv[3], name);
    send_frame(HELLO, hello, 3 + name + 4, "", 0);
    receive();

    struct pollfd ready[2] = {{server, POLLIN, 0}, {0, POLLIN, 0}};
    for (uint32_t id = 1;;) {
        if (poll(ready, 2, -1) < 0) die("poll");
        if (ready[0].revents) receive();
        if (!ready[1].revents) continue;
        char line[4096];
        ssize_t size = read(0, line, sizeof line - 1);
        if (size <= 0) {
            send_frame(LEAVE, "", 0, "", 0);
            ready[1].fd = -1; /* what the server still owes us comes, then the end */
            continue;
        }
        line[size] = 0;
        for (char *text = strtok(line, "\n"); text; text = strtok(NULL, "\n")) {
            uint8_t head[14]; /* u32 id, u8 target (ALL), u32 arg, u8 flags (RESULTS), u32 ttl_ms */
            put(put(put(put(put(head, id++, 4), 0, 1), 0, 4), 1, 1), 5000, 4);
            send_frame(COMMAND, head, 14, text, strlen(text));
        }
    }
}
