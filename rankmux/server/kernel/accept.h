/* Accepting a connection that does not block, without a call for that where the system has accept4(2). */

#ifndef RANKMUX_ACCEPT_H
#define RANKMUX_ACCEPT_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS_SIZE (INET6_ADDRSTRLEN + sizeof "[]:65535")

/* The number, and where to go on. */
static char *put_number(char *at, unsigned number) {
    if (number >= 10)
        at = put_number(at, number / 10);
    *at = (char)('0' + number % 10);
    return at + 1;
}

/* The same as by printf and inet_ntop, which is printf too: that costs more than all the rest here. */
static void put_v4(char *at, const struct sockaddr_in *address) {
    const unsigned char *octets = (const unsigned char *)&address->sin_addr;
    int i;
    for (i = 0; i < 4; i++) {
        at = put_number(at, octets[i]);
        *at++ = i < 3 ? '.' : ':';
    }
    *put_number(at, ntohs(address->sin_port)) = 0;
}

static void put_v6(char *at, const struct sockaddr_in6 *address) {
    *at++ = '[';
    *at = 0;
    inet_ntop(AF_INET6, &address->sin6_addr, at, INET6_ADDRSTRLEN);
    at += strlen(at);
    *at++ = ']';
    *at++ = ':';
    *put_number(at, ntohs(address->sin6_port)) = 0;
}

/* The descriptor, or -1; at `text`, ADDRESS_SIZE bytes, the address as `text_address` writes it, "" without a port. */
static int accept_plain(int listening, char *text) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } address;
    socklen_t size = sizeof address;
    int fd;
    address.any.sa_family = AF_UNSPEC;
#ifdef SOCK_NONBLOCK
    fd = accept4(listening, &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    fd = accept(listening, &address.any, &size);
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, O_NONBLOCK);
    }
#endif
    text[0] = 0;
    if (fd >= 0 && address.any.sa_family == AF_INET)
        put_v4(text, &address.v4);
    else if (fd >= 0 && address.any.sa_family == AF_INET6)
        put_v6(text, &address.v6);
    return fd;
}

#endif
