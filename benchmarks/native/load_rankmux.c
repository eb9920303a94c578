/* rankmux protocol 1, from a member's side: every frame is parsed, checked and counted. */
#include "load_rankmux.h"
#include "load_payload.h"
#include "wire.h"

enum { NAME_MAX = 64 };

uint8_t *put_command(uint8_t *at, uint32_t id, uint8_t target, uint32_t arg, uint8_t flags, uint64_t number,
                     size_t payload_size)
{
    at = put_header(at, COMMAND, COMMAND_SIZE + payload_size);
    at = put_u32(put_u8(put_u32(at, id), target), arg);
    return put_payload(put_u32(put_u8(at, flags), 0), number, payload_size);
}

static uint8_t *put_to_all(uint8_t *at, uint64_t number, size_t payload_size)
{
    return put_command(at, 0, TO_ALL, 0, QUIET, number, payload_size);
}

/* This length gives a CHANGED the size of an EXECUTE. */
static uint8_t watcher_name_size(void)
{
    size_t size = EXECUTE_SIZE + crowd.payload_size;
    size = size > CHANGED_SIZE ? size - CHANGED_SIZE : 0;
    return size < NAME_MAX ? (uint8_t)size : NAME_MAX;
}

static void greet(struct member *member)
{
    static const char name[NAME_MAX] = "a member with a name so long that CHANGED is as long as an EXECUTE";
    uint8_t hello[HELLO_SIZE + NAME_MAX];
    uint8_t length = crowd.watching ? watcher_name_size() : 0;
    uint8_t *at = put_header(hello, HELLO, HELLO_SIZE + length);
    at = put_u8(put_u8(put_u8(at, 1), crowd.watching ? WATCH : 0), length);
    put_u16(put_u16(put_bytes(at, name, length), 0), 0);
    crowd_send(member, hello, HELLO_SIZE + length);
}

static void see(struct member *member, uint64_t seq)
{
    if (seq <= member->seq)
        fail("member %u: seq %lu after %lu", member->rank, (unsigned long)seq, (unsigned long)member->seq);
    member->seq = seq;
}

static void take_welcome(struct member *member, const uint8_t *frame)
{
    uint32_t rank = get_u32(frame + 30), members = get_u32(frame + 34);
    if (rank >= members || members > crowd.count)
        fail("WELCOME with rank %u of %u, %u connected", rank, members, crowd.count);
    crowd_seat(member, rank);
    member->ticket = get_u64(frame + 14);
    see(member, get_u64(frame + 22));
}

static void take_execute(struct member *member, const uint8_t *frame, size_t size)
{
    uint64_t seq = get_u64(frame + 5);
    see(member, seq);
    if (get_u32(frame + 13) >= member->rank)
        fail("member %u: a command from rank %u", member->rank, get_u32(frame + 13));
    if (size != EXECUTE_SIZE + crowd.payload_size)
        fail("member %u: an EXECUTE of %zu bytes", member->rank, size);
    if (++member->received > member->expected)
        fail("member %u: a command too many", member->rank);
    crowd.delivered++;
    if (frame[17] & WANT_RESULTS) {
        uint8_t *at = put_header(crowd_reply(RESULT_SIZE + 4), RESULT, RESULT_SIZE + 4);
        put_bytes(put_u8(put_u64(at, seq), STATUS_OK), "done", 4);
    }
}

static void take_rank(struct member *member, const uint8_t *frame)
{
    uint32_t rank = get_u32(frame + 13), members = get_u32(frame + 17);
    see(member, get_u64(frame + 5));
    if (member->leaving)
        return;
    if (crowd.yielding) {
        if (rank + crowd.yielding != member->rank || members + crowd.yielding != crowd.count || frame[21] != CAUSE_YIELDED)
            fail("member %u: RANK %u of %u, cause %u, after yields", member->rank, rank, members, frame[21]);
        member->rank = rank;
        crowd.promoted++;
        return;
    }
    if (rank + 1 != member->rank || members != crowd.count || frame[21] != CAUSE_LEFT)
        fail("member %u: RANK %u of %u, cause %u", member->rank, rank, members, frame[21]);
    member->rank = rank;
    crowd.promoted++;
}

static void take_routed(const uint8_t *frame, size_t size)
{
    uint32_t id = get_u32(frame + 5), rank = get_u32(frame + 17);
    struct member *executor = crowd_member(rank);
    if (rank == 0 || rank >= crowd.count || get_u64(frame + 9) != executor->ticket)
        fail("ROUTED from rank %u with ticket %lu", rank, (unsigned long)get_u64(frame + 9));
    if (frame[21] != STATUS_OK || size != ROUTED_SIZE + 4 || id != executor->answered + 1)
        fail("ROUTED from rank %u for id %u after %u, status %u, %zu bytes", rank, id, executor->answered, frame[21], size);
    executor->answered = id;
    crowd.routed++;
}

static void take_yielded(struct member *member, const uint8_t *frame)
{
    see(member, get_u64(frame + 9));
    member->ticket = get_u64(frame + 17);
    member->rank = get_u32(frame + 25);
    crowd.yielded++;
}

static void take_changed(struct member *member, const uint8_t *frame, size_t size)
{
    uint64_t seq = get_u64(frame + 5);
    if (seq <= member->changed_seq)
        fail("member %u: CHANGED with seq %lu after %lu", member->rank, (unsigned long)seq, (unsigned long)member->changed_seq);
    if (size != CHANGED_SIZE + frame[CHANGED_SIZE - 1])
        fail("member %u: a CHANGED of %zu bytes", member->rank, size);
    member->changed_seq = seq;
    crowd.changed++;
}

static void take_done(const uint8_t *frame)
{
    uint32_t ok = get_u32(frame + 9);
    uint32_t others = 0;
    for (int at = 13; at < DONE_SIZE; at += 4)
        others += get_u32(frame + at);
    if (ok != crowd.count - 1 || others)
        fail("DONE with %u of %u ok", ok, crowd.count - 1);
    crowd.done++;
}

static void take_frame(struct member *member, const uint8_t *frame, size_t size)
{
    static const uint8_t sizes[256] = {[PING] = HEADER_SIZE, [PONG] = HEADER_SIZE, [WELCOME] = WELCOME_SIZE,
        [EXECUTE] = EXECUTE_SIZE, [RANK] = RANK_SIZE, [ACCEPTED] = ACCEPTED_SIZE, [REFUSED] = REFUSED_SIZE,
        [ROUTED] = ROUTED_SIZE, [DONE] = DONE_SIZE, [ERROR] = ERROR_SIZE, [YIELDED] = YIELDED_SIZE,
        [CHANGED] = CHANGED_SIZE};
    uint8_t type = frame[4];
    if (!sizes[type] || size < sizes[type])
        fail("member %u: a frame of type 0x%02x with %zu bytes", member->rank, type, size);
    if (!member->joined && type != WELCOME && type != ERROR)
        fail("member %u: a frame of type 0x%02x before WELCOME", member->rank, type);
    switch (type) {
    case EXECUTE:
        take_execute(member, frame, size);
        break;
    case WELCOME:
        take_welcome(member, frame);
        break;
    case RANK:
        take_rank(member, frame);
        break;
    case ACCEPTED:
        crowd.last_executors = get_u32(frame + 17);
        crowd.accepted++;
        member->accepted++;
        break;
    case ROUTED:
        take_routed(frame, size);
        break;
    case DONE:
        take_done(frame);
        break;
    case YIELDED:
        take_yielded(member, frame);
        break;
    case CHANGED:
        take_changed(member, frame, size);
        break;
    case PING:
        put_bytes(put_header(crowd_reply(size), PONG, size), frame + HEADER_SIZE, size - HEADER_SIZE);
        crowd.pings++;
        break;
    case PONG:
        break;
    case REFUSED:
        fail("member %u: REFUSED %u %.*s", member->rank, get_u16(frame + 9), (int)(size - REFUSED_SIZE), frame + REFUSED_SIZE);
    case ERROR:
        fail("member %u: ERROR %u %.*s", member->rank, get_u16(frame + 5), (int)(size - ERROR_SIZE), frame + ERROR_SIZE);
    }
}

static size_t take(struct member *member, const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (size - at >= HEADER_SIZE) {
        uint32_t length = get_u32(bytes + at);
        if (length == 0 || length > MAX_LENGTH)
            fail("member %u: a frame of length %u", member->rank, length);
        if (size - at < LENGTH_SIZE + length)
            break;
        take_frame(member, bytes + at, LENGTH_SIZE + length);
        at += LENGTH_SIZE + length;
    }
    return at;
}

const struct protocol rankmux_protocol = {"rankmux", greet, take, put_to_all};
