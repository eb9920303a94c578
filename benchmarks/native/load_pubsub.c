/* The subset of Redis (RESP2), NATS and MQTT 3.1.1 that a fan-out needs.
 *
 * Member 0 publishes; all other members subscribe to the single subject "c".  Payloads begin with a number, which
 * must increase by one from message to message.
 */
#include "load_pubsub.h"
#include "load_payload.h"
#include "wire.h"

#include <stdio.h>

/* Count a message received by a subscriber. */
static void deliver(struct member *member, const uint8_t *payload, size_t size)
{
    if (size != crowd.payload_size)
        fail("member %u: a payload of %zu bytes", member->rank, size);
    uint64_t number = get_u64(payload);
    if (member->seq && number != member->seq + 1)
        fail("member %u: number %lu after %lu", member->rank, (unsigned long)number, (unsigned long)member->seq);
    member->seq = number;
    if (++member->received > member->expected)
        fail("member %u: a message too many", member->rank);
    crowd.delivered++;
}

static void say(struct member *member, const char *text)
{
    crowd_send(member, text, strlen(text));
}

/* The size of the line at `bytes` with its CR LF, or 0 if it is incomplete. */
static size_t line_size(const uint8_t *bytes, size_t size)
{
    const uint8_t *end = memchr(bytes, '\n', size);
    return end ? (size_t)(end - bytes) + 1 : 0;
}

static size_t number_at(const uint8_t *text)
{
    size_t number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = 10 * number + (size_t)(*text - '0');
    return number;
}

static bool begins(const uint8_t *bytes, size_t size, const char *text)
{
    size_t length = strlen(text);
    return size >= length && !memcmp(bytes, text, length);
}

static _Noreturn void not_understood(const struct member *member, const uint8_t *bytes, size_t size)
{
    fail("member %u: not understood: %.*s", member->rank, (int)(size < 80 ? size : 80), bytes);
}

/* ---- Redis ---- */

static const char redis_message[] = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$";
static const char redis_subscribed[] = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";

static void redis_greet(struct member *member)
{
    say(member, member->rank ? "SUBSCRIBE c\r\n" : "PING\r\n");
}

static size_t redis_take(struct member *member, const uint8_t *bytes, size_t size)
{
    const size_t head = sizeof redis_message - 1;
    size_t at = 0;
    while (at < size) {
        const uint8_t *message = bytes + at;
        size_t left = size - at;
        if (begins(message, left, redis_message)) {
            size_t line = line_size(message + head, left - head), length = line ? number_at(message + head) : 0;
            if (!line || left < head + line + length + 2)
                break;
            deliver(member, message + head + line, length);
            at += head + line + length + 2;
        } else if (message[0] == '*') {
            if (left < sizeof redis_subscribed - 1)
                break;
            if (!begins(message, left, redis_subscribed))
                not_understood(member, message, left);
            crowd_seat(member, member->rank);
            at += sizeof redis_subscribed - 1;
        } else {
            size_t line = line_size(message, left);
            if (!line)
                break;
            if (message[0] == ':') {
                if (number_at(message + 1) != crowd.count - 1)
                    fail("published to %zu of %u", number_at(message + 1), crowd.count - 1);
            } else if (begins(message, line, "+PONG")) {
                crowd_seat(member, member->rank);
            } else {
                not_understood(member, message, line);
            }
            at += line;
        }
    }
    return at;
}

static uint8_t *redis_put(uint8_t *at, uint64_t number, size_t payload_size)
{
    at += sprintf((char *)at, "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$%zu\r\n", payload_size);
    return put_bytes(put_payload(at, number, payload_size), "\r\n", 2);
}

const struct protocol redis_protocol = {"redis", redis_greet, redis_take, redis_put};

/* ---- NATS ---- */

static void nats_greet(struct member *member)
{
    say(member, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
    say(member, member->rank ? "SUB c 1\r\nPING\r\n" : "PING\r\n");
}

static size_t nats_take(struct member *member, const uint8_t *bytes, size_t size)
{
    static const char head[] = "MSG c 1 ";
    size_t at = 0;
    while (at < size) {
        const uint8_t *message = bytes + at;
        size_t left = size - at, line = line_size(message, left);
        if (!line)
            break;
        if (begins(message, line, head)) {
            size_t length = number_at(message + sizeof head - 1);
            if (left < line + length + 2)
                break;
            deliver(member, message + line, length);
            line += length + 2;
        } else if (begins(message, line, "PING")) {
            crowd.pings++;
            memcpy(crowd_reply(6), "PONG\r\n", 6);
        } else if (begins(message, line, "PONG")) {
            crowd_seat(member, member->rank);
        } else if (!begins(message, line, "INFO ")) {
            not_understood(member, message, line);
        }
        at += line;
    }
    return at;
}

static uint8_t *nats_put(uint8_t *at, uint64_t number, size_t payload_size)
{
    at += sprintf((char *)at, "PUB c %zu\r\n", payload_size);
    return put_bytes(put_payload(at, number, payload_size), "\r\n", 2);
}

const struct protocol nats_protocol = {"nats", nats_greet, nats_take, nats_put};

/* ---- MQTT 3.1.1, QoS 0 ---- */

enum { MQTT_CONNACK = 0x20, MQTT_PUBLISH = 0x30, MQTT_SUBACK = 0x90 };

static void mqtt_greet(struct member *member)
{
    /* CONNECT: clean session, no keep-alive, an empty client id (the broker gives one). */
    static const uint8_t connect[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
    static const uint8_t subscribe[] = {0x82, 6, 0, 1, 0, 1, 'c', 0};
    crowd_send(member, connect, sizeof connect);
    if (member->rank)
        crowd_send(member, subscribe, sizeof subscribe);
}

static size_t mqtt_take(struct member *member, const uint8_t *bytes, size_t size)
{
    static const size_t topic_size = 3;       /* u16 length, "c" */
    size_t at = 0;
    while (size - at >= 2) {
        const uint8_t *packet = bytes + at;
        size_t head = 1, length = 0, shift = 0;
        do {                                  /* the remaining length: 7 bits per byte, least significant first */
            if (head == size - at || head > 4)
                return at;
            length |= (size_t)(packet[head] & 0x7f) << shift;
            shift += 7;
        } while (packet[head++] & 0x80);
        if (size - at < head + length)
            break;
        const uint8_t *body = packet + head;
        if (packet[0] == MQTT_PUBLISH && length > topic_size)
            deliver(member, body + topic_size, length - topic_size);
        else if (packet[0] == MQTT_CONNACK && length == 2 && body[1] == 0) {
            if (!member->rank)
                crowd_seat(member, member->rank);
        } else if (packet[0] == MQTT_SUBACK && length == 3 && body[2] == 0)
            crowd_seat(member, member->rank);
        else
            fail("member %u: an MQTT packet 0x%02x of %zu bytes", member->rank, packet[0], length);
        at += head + length;
    }
    return at;
}

static uint8_t *mqtt_put(uint8_t *at, uint64_t number, size_t payload_size)
{
    size_t length = 3 + payload_size;
    *at++ = MQTT_PUBLISH;
    for (; length >= 0x80; length >>= 7)
        *at++ = (uint8_t)(length | 0x80);
    *at++ = (uint8_t)length;
    return put_payload(put_bytes(put_u16(at, 1), "c", 1), number, payload_size);
}

const struct protocol mqtt_protocol = {"mqtt", mqtt_greet, mqtt_take, mqtt_put};
