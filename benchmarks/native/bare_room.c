/* The room: ranks and how a turn changes them, in the order of section 4 of the protocol.
 *
 * Commands are written to one shared block from the most senior sender down, so each member receives a prefix
 * of it.  One sweep over the ranks then sends, removes the departed and notifies the rest of their new ranks.
 */
#include "bare.h"
#include "memory.h"
#include "wire.h"

#include <string.h>

enum { PING_MS = 10000 };

void room_open(struct room *room, uint32_t seats)
{
    *room = (struct room){.seats = seats, .instance = 0x0102030405060708};
    room->members = resized(NULL, seats * sizeof *room->members);
    room->tickets = resized(NULL, seats * sizeof *room->tickets);
    room->loads = resized(NULL, seats * sizeof *room->loads);
}

static uint32_t index_of(const uint64_t *tickets, uint32_t count, uint64_t ticket)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tickets[middle] < ticket)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && tickets[low] == ticket ? low : NO_RANK;
}

/* ---- commands ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Order the turn's commands: the most senior sender's first, those of one sender in the order of arrival. */
static const uint64_t *in_order(struct room *room, const struct turn *turn)
{
    bool sorted = true;
    RESERVE(room->order, room->order_capacity, turn->command_count);
    for (uint32_t i = 0; i < turn->command_count; i++) {
        room->order[i] = (uint64_t)turn->commands[i].sender->rank << 32 | i;
        sorted = sorted && (i == 0 || room->order[i - 1] < room->order[i]);
    }
    if (!sorted)
        qsort(room->order, turn->command_count, sizeof *room->order, by_value);
    return room->order;
}

static uint8_t *put_execute(uint8_t *at, const struct command *command, uint64_t seq)
{
    at = put_header(at, EXECUTE, EXECUTE_SIZE + command->payload_size);
    at = put_u64(at, seq);
    at = put_u32(at, command->sender->rank);
    at = put_u8(at, command->flags & WANT_RESULTS);
    at = put_u32(at, command->ttl_ms);
    return put_bytes(at, command->payload, command->payload_size);
}

/* The rank that a directed command goes to; sets `refusal` if there is none. */
static uint32_t target_of(const struct room *room, struct command *command)
{
    uint32_t sender = command->sender->rank, target = sender + 1;
    if (command->target == TO_ONE) {
        if (command->arg >= room->count)
            command->refusal = NO_SUCH_RANK;
        else if (command->arg <= sender)
            command->refusal = NOT_LOWER;
        return command->arg;
    }
    if (target >= room->count)
        command->refusal = NO_TARGET;
    else if (command->target == TO_LEAST)
        for (uint32_t rank = target + 1; rank < room->count; rank++)
            if (room->loads[rank] < room->loads[target])
                target = rank;
    return target;
}

static void await_results(struct room *room, const struct command *command, uint32_t first, uint32_t executors)
{
    RESERVE(room->pending, room->pending_capacity, room->pending_count + 1);
    struct pending *pending = &room->pending[room->pending_count++];
    *pending = (struct pending){.seq = room->seq, .sender = command->sender, .id = command->id,
                                .first_rank = first, .executors = executors, .waiting = executors};
    pending->tickets = resized(NULL, executors * sizeof *pending->tickets);
    memcpy(pending->tickets, room->tickets + first, executors * sizeof *pending->tickets);
    pending->settled = resized(NULL, executors);
    memset(pending->settled, 0, executors);
    for (uint32_t rank = first; rank < first + executors; rank++)
        room->loads[rank]++;
}

static void dispatch(struct room *room, struct command *command, struct outbox *out)
{
    uint32_t sender = command->sender->rank, first = sender + 1, executors = 1, rejected = 0;
    if (command->target == TO_ALL) {
        executors = room->count - first;
        rejected = sender;
        command->refusal = executors ? 0 : NO_TARGET;
    } else {
        first = target_of(room, command);
    }
    if (command->refusal)
        return;
    room->seq++;
    if (command->target == TO_ALL) {
        struct block *shared = out->shared;
        shared->used = (size_t)(put_execute(shared->bytes + shared->used, command, room->seq) - shared->bytes);
        if (room->step_count && room->steps[room->step_count - 1].sender == sender) {
            room->steps[room->step_count - 1].end = shared->used;
        } else {
            RESERVE(room->steps, room->step_capacity, room->step_count + 1);
            room->steps[room->step_count++] = (struct step){sender, shared->used};
        }
    } else {
        put_execute(outbox_add(out, room->members[first], out->shared->used, EXECUTE_SIZE + command->payload_size),
                    command, room->seq);
    }
    if (command->flags & WANT_RESULTS)
        await_results(room, command, first, executors);
    if (!(command->flags & QUIET)) {
        uint8_t *at = put_header(outbox_add(out, command->sender, AFTER_ALL, ACCEPTED_SIZE), ACCEPTED, ACCEPTED_SIZE);
        put_u32(put_u32(put_u32(put_u64(put_u32(at, command->id), room->seq), executors), rejected), 0);
    }
}

static void take_commands(struct room *room, struct turn *turn, struct outbox *out)
{
    room->step_count = 0;
    if (!turn->command_count)
        return;
    const uint64_t *order = in_order(room, turn);
    for (uint32_t i = 0; i < turn->command_count; i++)
        dispatch(room, &turn->commands[(uint32_t)order[i]], out);
    for (uint32_t i = 0; i < turn->command_count; i++) {
        const struct command *command = &turn->commands[(uint32_t)order[i]];
        if (command->refusal) {
            uint8_t *at = put_header(outbox_add(out, command->sender, AFTER_ALL, REFUSED_SIZE), REFUSED, REFUSED_SIZE);
            put_u16(put_u32(at, command->id), command->refusal);
        }
    }
}

/* ---- results ---- */

static void route(struct outbox *out, struct pending *pending, uint32_t executor, uint8_t status,
                  const uint8_t *payload, uint32_t payload_size)
{
    size_t size = ROUTED_SIZE + payload_size;
    uint8_t *at = put_header(outbox_add(out, pending->sender, AFTER_ALL, size), ROUTED, size);
    at = put_u64(put_u32(at, pending->id), pending->tickets[executor]);
    put_bytes(put_u8(put_u32(at, pending->first_rank + executor), status), payload, payload_size);
    if (status == STATUS_PART)
        return;
    pending->settled[executor] = true;
    pending->waiting--;
    if (status == STATUS_OK)
        pending->ok++;
    else if (status == STATUS_FAILED)
        pending->failed++;
    else if (status == STATUS_REJECTED)
        pending->rejected++;
    else
        pending->left++;
}

static struct pending *pending_of(struct room *room, uint64_t seq)
{
    uint32_t low = 0, high = room->pending_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (room->pending[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < room->pending_count && room->pending[low].seq == seq ? &room->pending[low] : NULL;
}

/* Whether `peer` is an executor that `pending` still waits for, and which. */
static bool waits_for(const struct pending *pending, const struct peer *peer, uint32_t *executor)
{
    *executor = peer->rank - pending->first_rank;       /* correct at once if no member above has left since */
    if (*executor >= pending->executors || pending->tickets[*executor] != peer->ticket)
        *executor = index_of(pending->tickets, pending->executors, peer->ticket);
    return *executor != NO_RANK && !pending->settled[*executor];
}

static void take_results(struct room *room, struct turn *turn, struct outbox *out)
{
    for (uint32_t i = 0; i < turn->result_count; i++) {
        const struct result *result = &turn->results[i];
        struct pending *pending = pending_of(room, result->seq);
        uint32_t executor;
        if (pending && waits_for(pending, result->executor, &executor)) {
            route(out, pending, executor, result->status, result->payload, result->payload_size);
            if (result->status != STATUS_PART)
                room->loads[result->executor->rank]--;
        }
    }
}

/* Executors that leave are reported as LEFT; the pending commands of a sender that leaves are dropped. */
static void settle_departures(struct room *room, struct turn *turn, struct outbox *out)
{
    for (uint32_t i = 0; i < turn->departure_count && room->pending_count; i++) {
        const struct peer *gone = turn->departures[i];
        for (uint32_t j = 0; gone->rank != NO_RANK && j < room->pending_count; j++) {
            struct pending *pending = &room->pending[j];
            uint32_t executor;
            if (waits_for(pending, gone, &executor))
                route(out, pending, executor, STATUS_LEFT, NULL, 0);
            if (pending->sender != gone)
                continue;
            for (executor = 0; executor < pending->executors; executor++) {
                uint32_t rank = index_of(room->tickets, room->count, pending->tickets[executor]);
                if (!pending->settled[executor] && rank != NO_RANK)
                    room->loads[rank]--;
            }
            pending->waiting = 0;
        }
    }
}

static void end_pending(struct room *room, struct outbox *out)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < room->pending_count; i++) {
        struct pending *pending = &room->pending[i];
        if (pending->waiting) {
            room->pending[kept++] = *pending;
            continue;
        }
        uint8_t *at = put_header(outbox_add(out, pending->sender, AFTER_ALL, DONE_SIZE), DONE, DONE_SIZE);
        at = put_u32(put_u32(put_u32(at, pending->id), pending->ok), pending->failed);
        put_u32(put_u32(put_u32(put_u32(at, pending->rejected), 0), pending->left), 0);
        free(pending->tickets);
        free(pending->settled);
    }
    room->pending_count = kept;
}

/* ---- departures and joins ---- */

/* Give each newcomer the rank that it will have after the sweep. */
static void take_joins(struct room *room, struct turn *turn, struct outbox *out, uint32_t staying)
{
    for (uint32_t i = 0; i < turn->join_count; i++) {
        struct peer *peer = turn->joins[i];
        if (peer->departing)
            continue;
        if (staying == room->seats) {
            put_u16(put_header(outbox_add(out, peer, AFTER_ALL, ERROR_SIZE), ERROR, ERROR_SIZE), ERROR_FULL);
            peer->closing = true;
            continue;
        }
        peer->ticket = ++room->last_ticket;
        peer->rank = staying++;
        uint8_t *at = put_header(outbox_add(out, peer, AFTER_ALL, WELCOME_SIZE), WELCOME, WELCOME_SIZE);
        at = put_u64(put_u64(put_u64(put_u8(at, 1), room->instance), peer->ticket), ++room->seq);
        at = put_u32(put_u32(put_u32(at, peer->rank), staying), room->seats);
        put_u16(put_u32(put_u32(at, MAX_PAYLOAD), PING_MS), 0);
    }
}

/* Send to every member that the turn concerns, in rank order, and close the gaps in the ranks. */
static void sweep(struct room *room, const struct turn *turn, struct outbox *out, uint32_t first, uint32_t staying,
                  uint64_t departure_seq)
{
    size_t shared_end = out->turn_start;
    uint32_t step = 0, kept = first;
    for (uint32_t rank = first; rank < room->count; rank++) {
        struct peer *peer = room->members[rank];
        struct slice rank_frame = {0};
        while (step < room->step_count && room->steps[step].sender < rank)
            shared_end = room->steps[step++].end;
        if (peer->departing) {
            outbox_send(out, peer, shared_end, rank_frame);
            peer->rank = NO_RANK;
            continue;
        }
        if (kept != rank) {
            struct block *block = out->privates;
            rank_frame = (struct slice){block, block->used, block->used + RANK_SIZE};
            uint8_t *at = put_u64(put_header(block->bytes + block->used, RANK, RANK_SIZE), departure_seq);
            put_u8(put_u32(put_u32(at, kept), staying), turn->cause);
            block->used += RANK_SIZE;
            room->members[kept] = peer;
            room->tickets[kept] = room->tickets[rank];
            room->loads[kept] = room->loads[rank];
            peer->rank = kept;
        }
        outbox_send(out, peer, shared_end, rank_frame);
        kept++;
    }
    room->count = kept;
}

void room_turn(struct room *room, struct turn *turn, struct outbox *out)
{
    outbox_begin(out);
    outbox_reserve_shared(out, turn->shared_size);
    take_commands(room, turn, out);
    take_results(room, turn, out);
    settle_departures(room, turn, out);
    end_pending(room, out);

    uint32_t first = room->step_count ? room->steps[0].sender + 1 : room->count, staying = room->count;
    for (uint32_t i = 0; i < turn->departure_count; i++) {
        uint32_t rank = turn->departures[i]->rank;
        staying -= rank != NO_RANK;
        first = rank < first ? rank : first;
    }
    uint64_t departure_seq = room->seq += room->count - staying;
    take_joins(room, turn, out, staying);
    for (uint32_t i = 0; i < turn->pong_count; i++) {
        const struct pong *pong = &turn->pongs[i];
        size_t size = HEADER_SIZE + pong->payload_size;
        put_bytes(put_header(outbox_add(out, pong->peer, AFTER_ALL, size), PONG, size), pong->payload, pong->payload_size);
    }
    if (staying < room->count)
        outbox_reserve_private(out, (size_t)RANK_SIZE * staying);
    sweep(room, turn, out, first, staying, departure_seq);
    for (uint32_t i = 0; i < turn->join_count; i++) {
        struct peer *peer = turn->joins[i];
        if (peer->rank == NO_RANK)
            continue;
        room->members[peer->rank] = peer;
        room->tickets[peer->rank] = peer->ticket;
        room->loads[peer->rank] = 0;
        room->count++;
    }
    outbox_send_owed(out);
}
